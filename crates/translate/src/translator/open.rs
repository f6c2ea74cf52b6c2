//! A translator from a model directory, or from a model in memory.

use std::path::Path;

use model::{Model, ModelDir, Ready, Vocabs};
use text::{Tokenizer, Tokenizers};

use super::Translator;
use crate::{
    Error, Result, SearchConfig,
    alignment::{Calibration, Reading},
};

impl Translator<Ready> {
    /// Reads a model directory: the model, its tokenizers, how it is best searched, and where its
    /// alignments are read.
    ///
    /// # Errors
    /// If a file is missing or damaged, or [`Error::ForeignTokenizer`] if the tokenizers are
    /// those of another model.
    pub fn open(dir: &Path) -> Result<Self> {
        let (model, tokenizers) = (ModelDir::open(dir)?, Tokenizers::open(dir)?);
        check_tokenizers(model.vocabs(), &tokenizers)?;
        let stored = model.stored();
        let mut translator = Self::new(model.ready(stored)?, tokenizers, SearchConfig::open(dir)?)?;
        if let Some(calibration) = Calibration::open(dir)? {
            translator.read_alignments(calibration.reading)?;
        }
        Ok(translator)
    }

    /// Reads alignments from there.
    ///
    /// # Errors
    /// If the model has no such layer or head.
    pub fn read_alignments(&mut self, reading: Reading) -> Result<()> {
        self.model.attend(reading.attended)?;
        self.view.shift = reading.shift;
        Ok(())
    }

    /// Makes a model ready to translate, as it is now.
    ///
    /// # Errors
    /// [`Error::ForeignTokenizer`] if the tokenizers are those of another model, or if the model
    /// cannot be searched.
    pub fn of(model: &Model, tokenizers: Tokenizers, config: SearchConfig) -> Result<Self> {
        check_tokenizers(model.vocabs(), &tokenizers)?;
        Self::new(model.ready()?, tokenizers, config)
    }
}

/// Makes sure that the vocabularies of a model are those of these tokenizers.
///
/// # Errors
/// [`Error::ForeignTokenizer`] if they are those of another model.
pub fn check_tokenizers(vocabs: &Vocabs, tokenizers: &Tokenizers) -> Result<()> {
    check("source", &tokenizers.src, vocabs.src, &vocabs.src_fingerprint)?;
    check("target", &tokenizers.tgt, vocabs.tgt, &vocabs.tgt_fingerprint)
}

/// Whether `tokenizer` has the entries that a model was made for. The fingerprint may be empty:
/// then nobody knows.
fn check(side: &'static str, tokenizer: &Tokenizer, vocab: usize, fingerprint: &str) -> Result<()> {
    let foreign = |what, found, expected| Error::ForeignTokenizer { side, what, found, expected };
    let found = tokenizer.vocab_size();
    if found != vocab {
        return Err(foreign("vocabulary size", found.to_string(), vocab.to_string()));
    }
    let found = tokenizer.fingerprint();
    if !fingerprint.is_empty() && found != fingerprint {
        return Err(foreign("fingerprint", found, fingerprint.to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use candle_core::Device;
    use model::{ModelConfig, RnnConfig, Special};
    use text::{TokenizerConfig, vocab};

    use super::*;
    use crate::search::Sampling;

    fn tokenizer(line: &str) -> Tokenizer {
        Tokenizer::train(&TokenizerConfig::default(), [line.to_owned()].into_iter()).unwrap()
    }

    fn vocabs(tokenizers: &Tokenizers) -> Vocabs {
        Vocabs {
            src: tokenizers.src.vocab_size(),
            tgt: tokenizers.tgt.vocab_size(),
            joint: tokenizers.share_ids(),
            src_fingerprint: tokenizers.src.fingerprint(),
            tgt_fingerprint: tokenizers.tgt.fingerprint(),
        }
    }

    fn model(vocabs: Vocabs) -> Model {
        let size = |n| NonZeroUsize::new(n).unwrap();
        let config = RnnConfig {
            embed_dim: size(7),
            dim: size(14),
            layers: size(1),
            ..RnnConfig::default()
        };
        let special =
            Special { pad: vocab::PAD, unk: vocab::UNK, bos: vocab::BOS, eos: vocab::EOS };
        Model::new(&ModelConfig::Rnn(config), vocabs, special, 1, &Device::Cpu).unwrap()
    }

    fn lines() -> Vec<String> {
        ["the cat sat on the mat", "", "a dog", "the dog sat", "a", "the mat sat on the cat and"]
            .map(String::from)
            .to_vec()
    }

    #[test]
    fn a_directory_holds_all_that_translating_needs() {
        let dir = tempfile::tempdir().unwrap();
        let tokenizers = Tokenizers::one(tokenizer("the cat sat on the mat"));
        let model = model(vocabs(&tokenizers));
        let config = SearchConfig { max_len_offset: 3, ..SearchConfig::default() };
        model.save(dir.path()).unwrap();
        tokenizers.save(dir.path()).unwrap();
        config.save(dir.path()).unwrap();

        let opened = Translator::open(dir.path()).unwrap();
        assert_eq!(opened.config, config);
        let expected = Translator::of(&model, tokenizers, config).unwrap();
        let (found, expected) = (opened.translate(&lines()), expected.translate(&lines()));
        assert_eq!(found.unwrap(), expected.unwrap());
    }

    /// To the last bit, with a network that multiplies the matrices of all rows at once.
    #[test]
    fn a_network_translates_a_line_the_same_alone_and_among_others() {
        let tokenizers = Tokenizers::one(tokenizer("the cat sat on the mat"));
        let model = model(vocabs(&tokenizers));
        for sample in [None, Some(Sampling::default())] {
            for beam in [1, 3] {
                let beam = NonZeroUsize::new(beam).unwrap();
                let config = SearchConfig {
                    beam,
                    n_best: beam,
                    sample: sample.clone(),
                    ..SearchConfig::default()
                };
                let translator = Translator::of(&model, tokenizers.clone(), config).unwrap();
                let together = translator.translate(&lines()).unwrap();
                let pairs: Vec<_> = lines()
                    .into_iter()
                    .zip(&together)
                    .map(|(line, found)| (line, found[0].text.clone()))
                    .collect();
                let aligned = translator.align(&pairs).unwrap();
                for (idx, line) in lines().into_iter().enumerate() {
                    assert_eq!(translator.translate(&[line]).unwrap()[0], together[idx]);
                    assert_eq!(translator.align(&pairs[idx..=idx]).unwrap()[0], aligned[idx]);
                }
            }
        }
    }

    #[test]
    fn the_tokenizer_of_another_model_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let vocabs = vocabs(&Tokenizers::one(tokenizer("the cat sat on the mat")));
        model(vocabs).save(dir.path()).unwrap();
        Tokenizers::one(tokenizer("xyz xyz and so on")).save(dir.path()).unwrap();
        let error = Translator::open(dir.path()).unwrap_err().to_string();
        assert!(error.contains("the tokenizer is of another model: its source"), "{error}");
    }

    #[test]
    fn a_fingerprint_that_differs_is_told_with_both_values() {
        let tokenizer = tokenizer("the cat");
        let size = tokenizer.vocab_size();
        assert!(check("source", &tokenizer, size, "").is_ok());
        assert!(check("source", &tokenizer, size, &tokenizer.fingerprint()).is_ok());
        let error = check("target", &tokenizer, size, "0123").unwrap_err().to_string();
        let found = tokenizer.fingerprint();
        assert!(
            error.ends_with(&format!("target fingerprint is {found}, expected 0123")),
            "{error}"
        );
    }

    #[test]
    fn a_directory_without_a_tokenizer_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Translator::open(dir.path()).is_err());
        let tokenizers = Tokenizers::one(tokenizer("the cat"));
        model(vocabs(&tokenizers)).save(dir.path()).unwrap();
        let error = Translator::open(dir.path()).unwrap_err().to_string();
        assert!(error.contains("tokenizer.json"), "{error}");
    }
}
