//! `nmt export`: a model in another form.

mod hub;

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::bail;
use candle_core::Device;
use model::{Model, checkpoint::WEIGHTS, marian::Generation};
use text::{Side, Tokenizer, Tokenizers, output::write_whole};
use translate::{
    SearchConfig,
    search::{self, LengthPenalty},
    translator::check_tokenizers,
};

use self::hub::Hub;
use crate::{card, cli::Session, output::ensure_new};

/// Write a model in another form
///
/// With `--precision int8` the matrices of the model have eight bits: a quarter of the space, and
/// faster translations. The new directory is used like any other; training that starts from it
/// starts from the rounded weights.
///
/// With `--format ctranslate2` a Transformer becomes a folder that CTranslate2 loads, with the
/// tokenizers that its tokens are those of.
///
/// With `--format marian` it becomes a folder as the `transformers` library has Marian models. That
/// goes for models that were imported from such a folder, trained further or not: others have
/// another network or other tokenizers.
///
/// With `--format hub` it becomes a folder to upload to the Hub as it is: the model with a
/// description that says what it was trained on and how, who may use it, how it is loaded, and how well it
/// translates the test sets that are given.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  nmt export runs/toy/best --precision int8 --out toy-int8
  nmt translate toy-int8 input.txt
  nmt export runs/toy/best --format ctranslate2 --out toy-ct2
  nmt export tuned/best --format marian --out tuned-marian
  nmt export runs/toy/best --format hub --licence cc-by-2.0 --out toy-hub \\
      --test held-out test.en test.es")]
#[command(group = clap::ArgGroup::new("form").required(true))]
pub(crate) struct Export {
    /// Directory of a model, such as `RUN/best` of `nmt train`
    model: PathBuf,

    /// What the matrices of the model become
    #[arg(long, value_name = "PRECISION", group = "form", help_heading = "Output")]
    precision: Option<Precision>,

    /// Whose form the model gets
    #[arg(long, value_name = "FORMAT", group = "form", help_heading = "Output")]
    format: Option<Format>,

    /// Write the new model to DIR
    #[arg(long, value_name = "DIR", help_heading = "Output")]
    out: PathBuf,

    #[command(flatten)]
    hub: Hub,
}

/// The precisions of files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Precision {
    /// Eight bits, with a scale for each output
    Int8,
}

/// The forms of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// A folder of a Marian model, for `transformers`
    Marian,
    /// A folder for CTranslate2
    Ctranslate2,
    /// A folder for the Hub, to upload as it is
    Hub,
}

impl Export {
    /// Reads the model, and writes it into a new directory.
    pub(crate) fn run(self, session: &Session<'_>) -> anyhow::Result<()> {
        let out = &self.out;
        self.hub.ensure_wanted(matches!(self.format, Some(Format::Hub)))?;
        ensure_new(out)?;
        match self.format {
            Some(Format::Hub) => self.hub.write(&self.model, out, session)?,
            Some(Format::Marian) => marian(&self.model, out)?,
            Some(Format::Ctranslate2) => ctranslate2(&self.model, out)?,
            None => {
                let note = "The matrices are rounded to eight bits, with a scale for each output.";
                train::quantize(&self.model, out, &card::with_note(&self.model, note))?;
            }
        }
        let megabytes =
            |path: PathBuf| -> anyhow::Result<f64> { Ok(fs::metadata(path)?.len() as f64 / 1e6) };
        let written = match self.format {
            Some(Format::Ctranslate2) => model::ctranslate2::MODEL,
            _ => WEIGHTS,
        };
        let (new, old) = (megabytes(out.join(written))?, megabytes(self.model.join(WEIGHTS))?);
        session.console.note("done", format!("{} · {new:.1} MB, was {old:.1} MB", out.display()));
        Ok(())
    }
}

/// A model and its tokenizers, which belong together.
fn open(dir: &Path) -> anyhow::Result<(Model, Tokenizers)> {
    let (model, tokenizers) = (Model::open(dir, &Device::Cpu)?, Tokenizers::open(dir)?);
    check_tokenizers(model.vocabs(), &tokenizers)?;
    Ok((model, tokenizers))
}

/// The entries of source and target, and SentencePiece models of both.
fn sentence_pieces(tokenizers: &Tokenizers) -> text::Result<[(Vec<String>, Vec<u8>); 2]> {
    Ok([tokenizers.sentence_piece(Side::Src)?, tokenizers.sentence_piece(Side::Tgt)?])
}

const PIECES: [&str; 2] = ["source.spm", "target.spm"];

/// Writes the model in `dir` as a folder for CTranslate2.
fn ctranslate2(dir: &Path, out: &Path) -> anyhow::Result<()> {
    let (model, tokenizers) = open(dir)?;
    let of_bytes = |tokenizer: &Tokenizer| -> Vec<String> {
        (0..tokenizer.vocab_size() as u32).filter_map(|id| tokenizer.token(id)).collect()
    };
    let pieces = sentence_pieces(&tokenizers).ok();
    let [src, tgt] = match &pieces {
        Some([src, tgt]) => [src.0.clone(), tgt.0.clone()],
        None => [of_bytes(&tokenizers.src), of_bytes(&tokenizers.tgt)],
    };
    Ok(train::whole(out, |partial| {
        model::ctranslate2::save(&model, partial)?;
        let lists: &[(&str, &[String])] = if src == tgt {
            &[("shared_vocabulary.json", &src)]
        } else {
            &[("source_vocabulary.json", &src), ("target_vocabulary.json", &tgt)]
        };
        for (name, tokens) in lists {
            let content = format!("{:#}\n", serde_json::json!(tokens));
            write_whole(&partial.join(name), content.as_bytes())?;
        }
        match &pieces {
            Some(pieces) => {
                for (name, (_, content)) in PIECES.iter().zip(pieces) {
                    write_whole(&partial.join(name), content)?;
                }
            }
            None => tokenizers.save(partial)?,
        }
        let note = "In the form of CTranslate2, with the tokenizers of its tokens.";
        Ok(write_whole(&partial.join("README.md"), card::with_note(dir, note).as_bytes())?)
    })?)
}

/// Writes the model in `dir` as a folder of a Marian model.
fn marian(dir: &Path, out: &Path) -> anyhow::Result<()> {
    let (model, tokenizers) = open(dir)?;
    let search = SearchConfig::open(dir)?;
    let length_penalty = match search.length_penalty {
        LengthPenalty::None => 0.0,
        LengthPenalty::Average(alpha) => alpha.get(),
        LengthPenalty::Gnmt(_) => bail!(
            "`length_penalty` of {} is GNMT's, which `transformers` has not",
            dir.join(search::FILE).display()
        ),
    };
    let generation = Generation {
        beam: search.beam.get(),
        length_penalty,
        // The first token and the last one count there.
        max_len: search.max_len(SRC_TOKENS).saturating_add(2),
    };
    let [(src_entries, src_pieces), (tgt_entries, tgt_pieces)] = sentence_pieces(&tokenizers)?;
    Ok(train::whole(out, |partial| {
        model::marian::save(&model, generation, partial)?;
        let shared = src_entries == tgt_entries;
        let names: &[(&str, &[String])] = if shared {
            &[("vocab.json", &src_entries)]
        } else {
            &[("vocab.json", &src_entries), ("target_vocab.json", &tgt_entries)]
        };
        for (name, entries) in names {
            let ids: serde_json::Map<_, _> =
                entries.iter().cloned().zip((0..).map(|id: u32| id.into())).collect();
            let content = format!("{:#}\n", serde_json::Value::Object(ids));
            write_whole(&partial.join(name), content.as_bytes())?;
        }
        for (name, content) in PIECES.iter().zip([&src_pieces, &tgt_pieces]) {
            write_whole(&partial.join(name), content)?;
        }
        let tokenizer = serde_json::json!({
            "tokenizer_class": "MarianTokenizer",
            "separate_vocabs": !shared,
            "unk_token": "<unk>",
            "eos_token": "</s>",
            "pad_token": "<pad>",
            "model_max_length": 512,
        });
        let content = format!("{tokenizer:#}\n");
        write_whole(&partial.join("tokenizer_config.json"), content.as_bytes())?;
        let note = "In the form of Marian models, for the `transformers` library.";
        write_whole(&partial.join("README.md"), card::with_note(dir, note).as_bytes())?;
        Ok(())
    })?)
}

/// Tokens of a source for which the longest translation is what a folder says that it is for all.
const SRC_TOKENS: usize = 256;
