//! Translating what is typed, sentence by sentence, with a history.

use std::{
    env, fs,
    io::{self, Write},
    path::PathBuf,
};

use anyhow::Context;
use model::EncoderDecoder;
use rustyline::{DefaultEditor, error::ReadlineError};
use translate::{Request, Translation, Translator, request::Ending};

use super::demands::Terms;
use crate::{
    cli::Session,
    render::{Matrix, terminal},
};

const PROMPT: &str = "> ";
const HELP: &str = "\
Type a sentence to translate it.
:prefix TEXT  begin translations with TEXT from now on; without TEXT as they like
:map          show below each translation which words it looked at, or stop showing it
:help         show this
:quit         leave, as Ctrl-D does";

/// What a typed line asks for.
#[derive(Debug, PartialEq, Eq)]
enum Typed<'a> {
    Nothing,
    Translate(&'a str),
    Prefix(&'a str),
    Map,
    Help,
    Quit,
    Unknown(&'a str),
}

impl<'a> Typed<'a> {
    fn parse(line: &'a str) -> Self {
        match line.trim() {
            "" => Self::Nothing,
            ":map" => Self::Map,
            ":help" => Self::Help,
            ":quit" => Self::Quit,
            ":prefix" => Self::Prefix(""),
            // A space at the end of a prefix means something.
            command if command.starts_with(":prefix ") => {
                Self::Prefix(line.trim_start().strip_prefix(":prefix ").unwrap_or_default())
            }
            command if command.starts_with(':') => Self::Unknown(command),
            sentence => Self::Translate(sentence),
        }
    }
}

/// Asks and answers until the input ends. `ending` is what prefixes say about their last word;
/// none if there can be no prefixes.
pub(super) fn run<M: EncoderDecoder + Sync>(
    translator: &Translator<M>,
    ending: Option<Ending>,
    terms: Option<Terms>,
    session: &Session<'_>,
) -> anyhow::Result<()> {
    let mut prefix = String::new();
    let mut editor = DefaultEditor::new().context("cannot read from this terminal")?;
    let history = history();
    if let Some(path) = &history {
        _ = editor.load_history(path); // there is none the first time
    }
    session.console.note("ready", "type a sentence, :help for help, Ctrl-D to leave");
    let mut map = false;
    loop {
        let line = match editor.readline(PROMPT) {
            Ok(line) => line,
            Err(ReadlineError::Eof | ReadlineError::Interrupted) => break,
            Err(error) => return Err(error).context("cannot read from this terminal"),
        };
        match Typed::parse(&line) {
            Typed::Nothing => continue,
            Typed::Quit => break,
            Typed::Help => println_all(HELP)?,
            Typed::Map => {
                map = !map;
                println_all(if map { "map on" } else { "map off" })?;
            }
            Typed::Unknown(command) => {
                println_all(&format!("no command is called {command}, see :help"))?
            }
            Typed::Prefix(_) if ending.is_none() => {
                println_all("a shortlist leaves no room for prefixes")?;
            }
            Typed::Prefix(text) => text.clone_into(&mut prefix),
            Typed::Translate(sentence) => {
                let phrases = terms.as_ref().map(|terms| terms.required(sentence));
                let (text, prefix) = (sentence.to_owned(), prefix.clone());
                let phrases = phrases.unwrap_or_default();
                let ending = ending.unwrap_or_default();
                match translator.translate(&[Request { text, prefix, ending, phrases }]) {
                    Ok(found) => answer(found.first().map_or(&[], Vec::as_slice), map, session)?,
                    Err(error) => session.console.warn(format_args!("{error}")),
                }
            }
        }
        _ = editor.add_history_entry(&line); // a full history is no reason to stop
    }
    if let Some(path) = &history {
        _ = path.parent().map(fs::create_dir_all); // a history that cannot be kept is a pity, no more
        _ = editor.save_history(path);
    }
    Ok(())
}

/// Writes translations, and the map of the best one if wanted.
fn answer(found: &[Translation], map: bool, session: &Session<'_>) -> io::Result<()> {
    for translation in found {
        match found.len() {
            1 => println_all(&translation.text)?,
            _ => println_all(&format!("{:8.4}  {}", translation.score, translation.text))?,
        }
    }
    for missing in found.first().iter().flat_map(|best| &best.unmet) {
        session.console.warn(format_args!("this translation lacks {missing:?}"));
    }
    let alignment = found.first().and_then(|best| best.alignment.as_ref());
    match alignment {
        Some(alignment) if map => {
            let drawn = terminal::draw("", &Matrix::from(alignment), &session.console.style());
            println_all(drawn.trim_end_matches('\n'))
        }
        None if map => println_all("this model has no attention, and so no map"),
        _ => Ok(()),
    }
}

/// Writes a text and ends its line.
fn println_all(text: &str) -> io::Result<()> {
    writeln!(io::stdout().lock(), "{text}")
}

/// Where the history is kept: below the state folder of the XDG base directory specification.
fn history() -> Option<PathBuf> {
    let state = env::var_os("XDG_STATE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || Some(PathBuf::from(env::var_os("HOME")?).join(".local/state"));
    Some(state.or_else(home)?.join("nmt/history"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_sentence_unless_it_begins_with_a_colon() {
        assert_eq!(Typed::parse("  "), Typed::Nothing);
        assert_eq!(Typed::parse(" Hello : world "), Typed::Translate("Hello : world"));
        assert_eq!(Typed::parse(":map"), Typed::Map);
        assert_eq!(Typed::parse(":quit "), Typed::Quit);
        assert_eq!(Typed::parse(":help"), Typed::Help);
        assert_eq!(Typed::parse(":nap"), Typed::Unknown(":nap"));
        assert_eq!(Typed::parse(" :prefix "), Typed::Prefix(""));
        assert_eq!(Typed::parse(":prefix Der Hund "), Typed::Prefix("Der Hund "));
    }
}
