//! A folder of its own for each test, in which the real program is run.

use std::{
    fs,
    path::{Path, PathBuf},
};

use assert_cmd::Command;
use tempfile::TempDir;

/// A folder that goes with the test.
pub(crate) struct Place(TempDir);

impl Place {
    /// One without files.
    pub(crate) fn empty() -> Self {
        Self(tempfile::tempdir().expect("a temporary folder"))
    }

    /// The path of a file or folder in it.
    pub(crate) fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::write(self.path(name), content).expect("a file can be written");
    }

    /// Runs `nmt` here and returns its exit code, its data and what else it said.
    pub(crate) fn nmt(&self, arguments: &str) -> (i32, String, String) {
        let mut command = Command::cargo_bin("nmt").expect("the program is built");
        ran(command.args(arguments.split_whitespace()).current_dir(self.path("")).output())
    }

    /// Runs `nmt`, which must succeed; what it said.
    pub(crate) fn done(&self, arguments: &str) -> String {
        let (code, _, said) = self.nmt(arguments);
        assert_eq!(code, 0, "{arguments}: {said}");
        said
    }
}

/// How a program ended: its exit code, its data and what else it said.
pub(crate) fn ran(output: std::io::Result<std::process::Output>) -> (i32, String, String) {
    let output = output.expect("it starts");
    let text = |bytes| String::from_utf8(bytes).expect("output is UTF-8");
    (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
}
