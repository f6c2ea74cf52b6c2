//! Translating what is typed, sentence by sentence, with a history.

use std::{
    env, fs,
    io::{self, Write},
    path::PathBuf,
};

use anyhow::Context;
use model::EncoderDecoder;
use rustyline::{DefaultEditor, error::ReadlineError};
use translate::{Translation, Translator};

use crate::{
    cli::Session,
    render::{Matrix, terminal},
};

const PROMPT: &str = "> ";
const HELP: &str = "\
Type a sentence to translate it.
:map    show below each translation which words it looked at, or stop showing it
:help   show this
:quit   leave, as Ctrl-D does";

/// What a typed line asks for.
#[derive(Debug, PartialEq, Eq)]
enum Request<'a> {
    Nothing,
    Translate(&'a str),
    Map,
    Help,
    Quit,
    Unknown(&'a str),
}

impl<'a> Request<'a> {
    fn parse(line: &'a str) -> Self {
        match line.trim() {
            "" => Self::Nothing,
            ":map" => Self::Map,
            ":help" => Self::Help,
            ":quit" => Self::Quit,
            command if command.starts_with(':') => Self::Unknown(command),
            sentence => Self::Translate(sentence),
        }
    }
}

/// Asks and answers until the input ends.
pub(super) fn run<M: EncoderDecoder + Sync>(
    translator: &Translator<M>,
    session: &Session<'_>,
) -> anyhow::Result<()> {
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
        match Request::parse(&line) {
            Request::Nothing => continue,
            Request::Quit => break,
            Request::Help => println_all(HELP)?,
            Request::Map => {
                map = !map;
                println_all(if map { "map on" } else { "map off" })?;
            }
            Request::Unknown(command) => {
                println_all(&format!("no command is called {command}, see :help"))?
            }
            Request::Translate(sentence) => match translator.translate(&[sentence.to_owned()]) {
                Ok(found) => answer(found.first().map_or(&[], Vec::as_slice), map, session)?,
                Err(error) => session.console.warn(format_args!("{error}")),
            },
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
        assert_eq!(Request::parse("  "), Request::Nothing);
        assert_eq!(Request::parse(" Hello : world "), Request::Translate("Hello : world"));
        assert_eq!(Request::parse(":map"), Request::Map);
        assert_eq!(Request::parse(":quit "), Request::Quit);
        assert_eq!(Request::parse(":help"), Request::Help);
        assert_eq!(Request::parse(":nap"), Request::Unknown(":nap"));
    }
}
