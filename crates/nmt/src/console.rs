//! What the terminal can do, and all that is said beside the data: notes, errors, hints.

use std::{
    env,
    fmt::Display,
    io::{self, IsTerminal, Write},
    process::ExitCode,
};

use crate::render::terminal::{Colors, Style};

/// When to use colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum When {
    /// On a terminal, unless `NO_COLOR` is set
    #[default]
    Auto,
    /// Also into files and pipes
    Always,
    /// Not at all
    Never,
}

/// How much to say on standard error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verbosity {
    /// Errors only.
    Quiet,
    /// What was done, in a line or two.
    Normal,
    /// Also every event of a run.
    Verbose,
}

/// Standard error, and what is known about standard output.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Console {
    when: When,
    verbosity: Verbosity,
}

/// Width of the first column of a note.
const LABEL: usize = 8;
/// Columns where the terminal does not tell, or where there is none.
const WIDTH: usize = 80;

impl Console {
    /// A console that follows these choices.
    pub(crate) fn new(when: When, verbosity: Verbosity) -> Self {
        Self { when, verbosity }
    }

    /// How much to say.
    pub(crate) fn verbosity(&self) -> Verbosity {
        self.verbosity
    }

    /// Says what was done: `model   runs/toy · rnn · 1.2 M parameters`.
    pub(crate) fn note(&self, label: &str, text: impl Display) {
        if self.verbosity >= Verbosity::Normal {
            self.line(label, text);
        }
    }

    /// Says what may have gone wrong, but does not stop the work.
    pub(crate) fn warn(&self, text: impl Display) {
        let label = self.emphasis("warning:", "33");
        // Nobody is left to tell when standard error is closed.
        _ = writeln!(io::stderr().lock(), "{label} {text}");
    }

    /// Says a whole line, as it is.
    pub(crate) fn say(&self, line: &str) {
        _ = writeln!(io::stderr().lock(), "{line}");
    }

    fn line(&self, label: &str, text: impl Display) {
        let label = self.emphasis(&format!("{label:LABEL$}"), "2");
        _ = writeln!(io::stderr().lock(), "{label}{text}");
    }

    /// Says why the program failed, and what may help. A reader that went away is no failure.
    pub(crate) fn report(&self, error: &anyhow::Error) -> ExitCode {
        if closed_pipe(error) {
            return ExitCode::SUCCESS;
        }
        if error.is::<Stopped>() {
            return ExitCode::from(Stopped::CODE);
        }
        let mut stderr = io::stderr().lock();
        _ = writeln!(stderr, "{} {error:#}", self.emphasis("error:", "31"));
        if let Some(hint) = error.downcast_ref::<Hinted>().map(|hinted| &hinted.hint) {
            _ = writeln!(stderr, "{} {hint}", self.emphasis("hint:", "36"));
        }
        if Misuse::is_in(error) { ExitCode::from(2) } else { ExitCode::FAILURE }
    }

    /// `text` in bold and the given colour, where standard error shows colours.
    fn emphasis(&self, text: &str, color: &str) -> String {
        match self.colors(io::stderr().is_terminal()) {
            Colors::None => text.to_owned(),
            _ => format!("\x1b[1;{color}m{text}\x1b[0m"),
        }
    }

    /// How to draw on standard output.
    pub(crate) fn style(&self) -> Style {
        let width = terminal_size::terminal_size().map(|(width, _)| usize::from(width.0));
        let columns = env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
        let width = width.or(columns).unwrap_or(WIDTH).max(20);
        Style { colors: self.colors(io::stdout().is_terminal()), width }
    }

    fn colors(&self, terminal: bool) -> Colors {
        let variable = |name| env::var(name).unwrap_or_default();
        let variables = ["NO_COLOR", "TERM", "COLORTERM"].map(variable);
        choose(self.when, terminal, variables)
    }
}

/// Which colours to use, from the values of `NO_COLOR` (<https://no-color.org>), `TERM` and
/// `COLORTERM`.
fn choose(when: When, terminal: bool, [no_color, term, colorterm]: [String; 3]) -> Colors {
    let wanted = match when {
        When::Always => true,
        When::Never => false,
        When::Auto => terminal && no_color.is_empty() && term != "dumb",
    };
    match colorterm.as_str() {
        _ if !wanted => Colors::None,
        "truecolor" | "24bit" => Colors::True,
        _ => Colors::Indexed,
    }
}

/// A great number in few digits: `1.2 M`.
pub(crate) fn count(number: usize) -> String {
    let number = number as f64;
    match number {
        _ if number < 1e4 => format!("{number}"),
        _ if number < 1e6 => format!("{:.0} k", number / 1e3),
        _ if number < 1e9 => format!("{:.1} M", number / 1e6),
        _ => format!("{:.1} G", number / 1e9),
    }
}

/// A number with commas between thousands: `14,203`.
pub(crate) fn grouped(number: usize) -> String {
    train::event::grouped(number as u64)
}

/// `1 thread`, `2 threads`.
pub(crate) fn threads_in_words(threads: usize) -> String {
    if threads == 1 { "1 thread".into() } else { format!("{threads} threads") }
}

/// Whether the reader of standard output, such as `head`, has closed it.
fn closed_pipe(error: &anyhow::Error) -> bool {
    causes(error).any(|cause| {
        let io = cause.downcast_ref::<io::Error>().map(io::Error::kind);
        // JSON does not name the error of its writer as the cause, only its kind.
        let json = cause.downcast_ref::<serde_json::Error>();
        let kind = io.or_else(|| json.and_then(serde_json::Error::io_error_kind));
        kind == Some(io::ErrorKind::BrokenPipe)
    })
}

/// The error and all that caused it, including what a hint is attached to.
fn causes(error: &anyhow::Error) -> impl Iterator<Item = &(dyn std::error::Error + 'static)> {
    let hinted = error.downcast_ref::<Hinted>().map(|hinted| &hinted.error);
    error.chain().chain(hinted.into_iter().flat_map(anyhow::Error::chain))
}

/// An error together with a way out.
#[derive(Debug)]
struct Hinted {
    error: anyhow::Error,
    hint: String,
}

impl Display for Hinted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.error.fmt(f)
    }
}

impl std::error::Error for Hinted {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.error.source()
    }
}

/// Adds a way out to an error.
pub(crate) trait Hint<T> {
    /// Says what may help, below the error.
    fn hint(self, hint: impl Into<String>) -> anyhow::Result<T>;
}

impl<T, E: Into<anyhow::Error>> Hint<T> for Result<T, E> {
    fn hint(self, hint: impl Into<String>) -> anyhow::Result<T> {
        self.map_err(|error| Hinted { error: error.into(), hint: hint.into() }.into())
    }
}

/// Somebody stopped the program by a signal, and has been told what there is.
#[derive(Debug)]
pub(crate) struct Stopped;

impl Stopped {
    /// The exit code, that of a program that Ctrl-C ends: who runs several one after another, as a
    /// script does, then stops as well.
    pub(crate) const CODE: u8 = 130;
}

impl Display for Stopped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("stopped by a signal")
    }
}

impl std::error::Error for Stopped {}

/// A mistake in the use of the command line that only shows once files have been seen.
#[derive(Debug)]
pub(crate) struct Misuse(pub(crate) String);

impl Display for Misuse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Misuse {}

impl Misuse {
    /// Whether an error comes from a mistake in the use of the command line.
    pub(crate) fn is_in(error: &anyhow::Error) -> bool {
        causes(error).any(|cause| cause.is::<Self>())
    }
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    fn chosen(when: When, terminal: bool, variables: [&str; 3]) -> Colors {
        choose(when, terminal, variables.map(str::to_owned))
    }

    #[test]
    fn colours_are_for_terminals_that_show_them() {
        assert_eq!(chosen(When::Auto, true, ["", "xterm", "truecolor"]), Colors::True);
        assert_eq!(chosen(When::Auto, true, ["", "xterm", ""]), Colors::Indexed);
        assert_eq!(chosen(When::Auto, true, ["1", "xterm", "truecolor"]), Colors::None);
        assert_eq!(chosen(When::Auto, true, ["", "dumb", ""]), Colors::None);
        assert_eq!(chosen(When::Auto, false, ["", "xterm", "truecolor"]), Colors::None);
        assert_eq!(chosen(When::Always, false, ["1", "xterm", "24bit"]), Colors::True);
        assert_eq!(chosen(When::Never, true, ["", "xterm", "24bit"]), Colors::None);
    }

    #[test]
    fn great_numbers_have_few_digits() {
        let counts = [0, 9999, 12_345, 1_234_567, 2_000_000_000].map(count);
        assert_eq!(counts, ["0", "9999", "12 k", "1.2 M", "2.0 G"]);
        assert_eq!([0, 999, 14_203, 1_000_000].map(grouped), ["0", "999", "14,203", "1,000,000"]);
    }

    #[test]
    fn a_hint_stays_with_its_error_and_out_of_its_message() {
        let error = Err::<(), _>(io::Error::other("no such thing")).hint("look elsewhere");
        let error = error.context("cannot look").unwrap_err();
        assert_eq!(format!("{error:#}"), "cannot look: no such thing");
        assert_eq!(error.downcast_ref::<Hinted>().unwrap().hint, "look elsewhere");
    }

    #[test]
    fn a_closed_pipe_is_found_below_other_errors() {
        let error = anyhow::Error::from(io::Error::from(io::ErrorKind::BrokenPipe));
        let error = error.context("cannot write");
        assert!(closed_pipe(&error));
        assert!(closed_pipe(&Err::<(), _>(error).hint("keep reading").unwrap_err()));
        assert!(!closed_pipe(&anyhow::Error::from(io::Error::other("broken pipe"))));
    }
}
