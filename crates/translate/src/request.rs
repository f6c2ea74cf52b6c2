//! A line to translate, and what is asked of its translation.

/// A line with what its translation has to begin with and to contain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// The line.
    pub text: String,
    /// What the translation begins with; nothing if it is empty or white space only.
    pub prefix: String,
    /// What the prefix says about the word that it ends in.
    pub ending: Ending,
    /// What the translation contains, in whole words. Of each, any of several texts will do.
    pub phrases: Vec<Vec<String>>,
}

/// What a prefix says about the word that it ends in. One that ends in white space has ended it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ending {
    /// It is whole: no letter or digit follows.
    #[default]
    Whole,
    /// It may go on.
    Open,
}

/// Whatever has a line of text, and perhaps more to ask.
pub trait Line {
    /// The line.
    fn text(&self) -> &str;

    /// What is asked of its translation; nothing if there is none.
    fn request(&self) -> Option<&Request>;
}

impl<T: AsRef<str>> Line for T {
    fn text(&self) -> &str {
        self.as_ref()
    }

    fn request(&self) -> Option<&Request> {
        None
    }
}

impl Line for Request {
    fn text(&self) -> &str {
        &self.text
    }

    fn request(&self) -> Option<&Request> {
        Some(self)
    }
}

impl From<String> for Request {
    fn from(text: String) -> Self {
        Self { text, ..Self::default() }
    }
}
