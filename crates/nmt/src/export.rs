//! `nmt export`: a model in another form.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::bail;
use candle_core::Device;
use model::{Model, marian::Generation};
use text::{Side, Tokenizers, output::write_whole};
use translate::{
    SearchConfig,
    search::{self, LengthPenalty},
    translator::check_tokenizers,
};

use crate::{card, console::Console, output::ensure_new};

/// Write a model in another form
///
/// With `--precision int8` the matrices of the model have eight bits: a quarter of the space, and
/// faster translations. The new directory is used like any other; training that starts from it
/// starts from the rounded weights.
///
/// With `--format marian` it becomes a folder as the `transformers` library has Marian models. That
/// goes for models that were imported from such a folder, trained further or not: others have
/// another network or other tokenizers.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  nmt export runs/toy/best --precision int8 --out toy-int8
  nmt translate toy-int8 input.txt
  nmt export runs/tuned/best --format marian --out tuned-marian")]
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
}

impl Export {
    /// Reads the model, and writes it into a new directory.
    pub(crate) fn run(self, console: &Console) -> anyhow::Result<()> {
        let out = &self.out;
        ensure_new(out)?;
        if self.format == Some(Format::Marian) {
            marian(&self.model, out)?;
        } else {
            let note = "The matrices are rounded to eight bits, with a scale for each output.";
            train::quantize(&self.model, out, &card::with_note(&self.model, note))?;
        }
        let megabytes = |dir: &Path| -> anyhow::Result<f64> {
            Ok(fs::metadata(dir.join(model::checkpoint::WEIGHTS))?.len() as f64 / 1e6)
        };
        let (new, old) = (megabytes(out)?, megabytes(&self.model)?);
        console.note("done", format!("{} · {new:.1} MB, was {old:.1} MB", out.display()));
        Ok(())
    }
}

/// Writes the model in `dir` as a folder of a Marian model.
fn marian(dir: &Path, out: &Path) -> anyhow::Result<()> {
    let model = Model::open(dir, &Device::Cpu)?;
    let tokenizers = Tokenizers::open(dir)?;
    check_tokenizers(model.vocabs(), &tokenizers)?;
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
    let pieces = [Side::Src, Side::Tgt].map(|side| tokenizers.sentence_piece(side));
    let [src, tgt] = pieces;
    let ((src_entries, src_pieces), (tgt_entries, tgt_pieces)) = (src?, tgt?);
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
        write_whole(&partial.join("source.spm"), &src_pieces)?;
        write_whole(&partial.join("target.spm"), &tgt_pieces)?;
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
