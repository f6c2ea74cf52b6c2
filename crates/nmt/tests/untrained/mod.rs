//! Small models that have learned nothing, for what does not depend on what they say.

use std::path::Path;

use candle_core::Device;
use model::{Model, ModelConfig, Special, Vocabs};
use text::{Tokenizer, TokenizerConfig, Tokenizers, vocab};

/// Writes an untrained model into the folder `dir`, with a tokenizer for both languages that was
/// learned from `text`.
pub(crate) fn write(dir: &Path, config: &ModelConfig, text: &str, seed: u64) {
    let lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let tokenizer = Tokenizer::train(&TokenizerConfig::default(), lines.into_iter());
    let tokenizer = tokenizer.expect("a tokenizer can be learned");
    let (size, fingerprint) = (tokenizer.vocab_size(), tokenizer.fingerprint());
    let vocabs = Vocabs {
        src: size,
        tgt: size,
        joint: true,
        src_fingerprint: fingerprint.clone(),
        tgt_fingerprint: fingerprint,
    };
    let special = Special { pad: vocab::PAD, unk: vocab::UNK, bos: vocab::BOS, eos: vocab::EOS };
    let model = Model::new(config, vocabs, special, seed, &Device::Cpu).expect("a model");
    std::fs::create_dir_all(dir).expect("a folder can be made");
    model.save(dir).expect("a model can be written");
    Tokenizers::one(tokenizer).save(dir).expect("a tokenizer can be written");
}
