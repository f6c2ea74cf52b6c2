//! A small experiment, to count from one number to another, and the program at work on it.

#![allow(dead_code)] // every test uses a part

use std::process::{Child, Command as Process, Stdio};

use crate::place::Place;

/// The experiment. Its files are made by [`Place::counting`].
pub(crate) const EXPERIMENT: &str = r#"
[data]
src = "en"
tgt = "de"
train = [{ src = "train.en", tgt = "train.de" }]
valid = { src = "valid.en", tgt = "valid.de" }

[model.rnn]
embed_dim = 8
dim = 8
layers = 1

[training]
updates = 6
batch_tokens = 200
report_every = 2
validate_every = 3
"#;

const WORDS: [(&str, &str); 5] =
    [("one", "eins"), ("two", "zwei"), ("three", "drei"), ("four", "vier"), ("five", "fünf")];

impl Place {
    /// A folder with the experiment `toy.toml` and its data.
    pub(crate) fn counting() -> Self {
        let place = Self::empty();
        let lines = |side: fn(&(&'static str, &'static str)) -> &'static str, first: usize| {
            let line = |n: usize| {
                let words = [n % 5, n / 5 % 5, n / 25 % 5].map(|idx| side(&WORDS[idx]));
                words.join(" ") + "\n"
            };
            (first..first + 50).map(line).collect::<String>()
        };
        for (name, first) in [("train", 0), ("valid", 50)] {
            place.write(&format!("{name}.en"), lines(|pair| pair.0, first));
            place.write(&format!("{name}.de"), lines(|pair| pair.1, first));
        }
        place.write("toy.toml", EXPERIMENT);
        place
    }

    /// Starts `nmt` here and does not wait for it.
    pub(crate) fn start(&self, arguments: &str) -> Running {
        let mut command = Process::new(env!("CARGO_BIN_EXE_nmt"));
        let command = command.args(arguments.split_whitespace()).current_dir(self.path(""));
        Running(command.stderr(Stdio::null()).spawn().expect("it starts"))
    }
}

/// A program that is ended with the test.
pub(crate) struct Running(pub(crate) Child);

impl Drop for Running {
    fn drop(&mut self) {
        _ = self.0.kill();
        _ = self.0.wait();
    }
}
