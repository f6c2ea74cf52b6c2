//! Translating on a GPU: on a GPU if there is one, or else on the host.

use std::num::NonZeroUsize;

use candle_core::Device;
use model::{Model, ModelConfig, SearchPrecision, Special, TransformerConfig, Vocabs};
use text::{Tokenizer, TokenizerConfig, Tokenizers, vocab};
use translate::{SearchConfig, Translation, Translator, search::Sampling};

const LINES: [&str; 6] = ["the cat sat on the mat", "", "a dog", "the dog sat", "a", "the mat sat"];

fn size(n: usize) -> NonZeroUsize {
    NonZeroUsize::new(n).expect("a size above zero")
}

fn tokenizers() -> Tokenizers {
    let lines = LINES.map(String::from).into_iter();
    Tokenizers::one(Tokenizer::train(&TokenizerConfig::default(), lines).expect("a tokenizer"))
}

/// The same model on any device.
fn model(tokenizers: &Tokenizers, device: &Device) -> Model {
    let config = TransformerConfig {
        dim: size(16),
        heads: size(2),
        ffn_dim: size(24),
        encoder_layers: size(1),
        decoder_layers: size(2),
        ..TransformerConfig::default()
    };
    let vocabs = Vocabs {
        src: tokenizers.src.vocab_size(),
        tgt: tokenizers.tgt.vocab_size(),
        joint: true,
        src_fingerprint: tokenizers.src.fingerprint(),
        tgt_fingerprint: tokenizers.tgt.fingerprint(),
    };
    let special = Special { pad: vocab::PAD, unk: vocab::UNK, bos: vocab::BOS, eos: vocab::EOS };
    let config = ModelConfig::Transformer(config);
    Model::new(&config, vocabs, special, 5, device).expect("a model")
}

fn configs() -> Vec<SearchConfig> {
    let short = SearchConfig {
        max_len_factor: 0.0.try_into().expect("a factor"),
        max_len_offset: 7,
        ..SearchConfig::default()
    };
    vec![
        SearchConfig { beam: size(1), ..short.clone() },
        SearchConfig { beam: size(4), n_best: size(3), min_len: 2, ..short.clone() },
        SearchConfig { beam: size(3), no_repeat_ngram: 1, ..short.clone() },
        SearchConfig { sample: Some(Sampling::default()), n_best: size(2), ..short },
    ]
}

fn translate(
    model: model::Ready,
    tokenizers: &Tokenizers,
    lines: &[&str],
) -> Vec<Vec<Vec<Translation>>> {
    let mut translator =
        Translator::new(model, tokenizers.clone(), SearchConfig::default()).expect("a translator");
    let lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
    let translate = |config| {
        translator.config = config;
        translator.translate(&lines).expect("translations")
    };
    configs().into_iter().map(translate).collect()
}

#[test]
fn in_single_precision_translations_are_those_of_the_processor() {
    let Some(device) = emulator::device() else { return };
    let tokenizers = tokenizers();
    let there = model(&tokenizers, &device).ready_on_gpu(SearchPrecision::F32).expect("a model");
    let here = model(&tokenizers, &Device::Cpu).ready_in(SearchPrecision::F32).expect("a model");
    let found = translate(there, &tokenizers, &LINES);
    let expected = translate(here, &tokenizers, &LINES);
    for (found, expected) in found.iter().flatten().zip(expected.iter().flatten()) {
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            assert_eq!(found.text, expected.text);
            assert!((found.log_prob - expected.log_prob).abs() < 1e-4);
            let (found, expected) = (&found.alignment, &expected.alignment);
            let links = |a: &Option<translate::Alignment>| a.as_ref().map(|a| a.links.clone());
            assert_eq!(links(found), links(expected));
        }
    }
}

#[test]
fn a_line_is_translated_the_same_alone_and_among_others() {
    let Some(device) = emulator::device() else { return };
    let tokenizers = tokenizers();
    let model = model(&tokenizers, &device);
    for precision in [SearchPrecision::F32, SearchPrecision::Bf16] {
        let ready = || model.ready_on_gpu(precision).expect("a model");
        let together = translate(ready(), &tokenizers, &LINES);
        for (i, line) in LINES.iter().enumerate() {
            let alone = translate(ready(), &tokenizers, &[line]);
            for (alone, together) in alone.iter().zip(&together) {
                assert_eq!(alone[0], together[i], "{precision:?}: {line}");
            }
        }
    }
}
