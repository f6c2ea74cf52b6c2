//! How far a download is: a bar on a terminal, a line now and then elsewhere.

use std::{
    io::IsTerminal,
    time::{Duration, Instant},
};

use indicatif::{HumanBytes, ProgressBar, ProgressStyle};

use crate::console::{Console, Verbosity};

/// Time between two lines where there is no bar.
const PAUSE: Duration = Duration::from_secs(10);

/// Says how far a download is.
pub(super) struct Bar<'a> {
    console: &'a Console,
    bar: Option<ProgressBar>,
    here: u64,
    total: Option<u64>,
    said: Instant,
}

impl<'a> Bar<'a> {
    /// Begins after `here` bytes of `total`.
    pub(super) fn new(console: &'a Console, url: &str, here: u64, total: Option<u64>) -> Self {
        let shown = console.verbosity() > Verbosity::Quiet && std::io::stderr().is_terminal();
        let bar = Self { console, bar: None, here, total, said: Instant::now() };
        let from = if here > 0 { format!(" · from {}", HumanBytes(here)) } else { String::new() };
        let size = total.map_or(String::new(), |total| format!(" · {}", HumanBytes(total)));
        console.note("get", format_args!("{url}{size}{from}"));
        Self { bar: shown.then(|| drawn(here, total)), ..bar }
    }

    /// So many bytes are here.
    pub(super) fn at(&mut self, here: u64) {
        self.here = here;
        match &self.bar {
            Some(bar) => bar.set_position(here),
            None if self.said.elapsed() >= PAUSE => {
                self.console.note("", self.done());
                self.said = Instant::now();
            }
            None => {}
        }
    }

    /// What is here, in words.
    pub(super) fn done(&self) -> String {
        match self.total {
            Some(total) => format!("{} of {}", HumanBytes(self.here), HumanBytes(total)),
            None => HumanBytes(self.here).to_string(),
        }
    }

    /// Removes the bar.
    pub(super) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

impl Drop for Bar<'_> {
    fn drop(&mut self) {
        self.finish();
    }
}

/// A bar that shows bytes.
fn drawn(here: u64, total: Option<u64>) -> ProgressBar {
    let (bar, template) = match total {
        Some(total) => (
            ProgressBar::new(total),
            "{bar:24} {percent:>3} % {bytes} of {total_bytes} · {bytes_per_sec} · {eta} left",
        ),
        None => (ProgressBar::new_spinner(), "{spinner} {bytes} · {bytes_per_sec}"),
    };
    let style = ProgressStyle::with_template(template);
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.set_position(here);
    bar
}
