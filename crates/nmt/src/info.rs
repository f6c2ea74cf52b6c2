//! `nmt info`: what a model directory holds.

use std::{
    io::Write,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use candle_core::Device;
use model::{
    Cell, Kind, Model, ModelConfig, RnnConfig, SearchPrecision, TransformerConfig, checkpoint,
};
use serde_json::json;
use text::Tokenizers;
use translate::{SearchConfig, alignment::Calibration, translator::check_tokenizers};

use crate::{
    align::calibration_in_words,
    console::{Console, count},
    output::Output,
};

/// Describe what model directories hold
///
/// Reads each model as it would be read to translate, so that a damaged or foreign file shows.
/// Of a run directory, describes the models in it.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  nmt info runs/toy/best
  nmt info runs/*
  nmt info runs/toy/best --parameters")]
pub(crate) struct Info {
    /// Model or run directories
    #[arg(required = true, num_args = 1..)]
    dirs: Vec<PathBuf>,

    /// List the parameters with their shapes
    #[arg(long, help_heading = "Output")]
    parameters: bool,

    /// Write a line of JSON for each model
    #[arg(long, conflicts_with = "parameters", help_heading = "Output")]
    json: bool,
}

impl Info {
    /// Describes all models; those that cannot be read make the command fail at the end.
    pub(crate) fn run(self, console: &Console) -> anyhow::Result<()> {
        let mut out = Output::open(None)?;
        let mut failed = 0;
        for dir in self.dirs.iter().flat_map(|dir| models(dir)) {
            match self.describe(&mut out, &dir) {
                Ok(()) => {}
                Err(error) if self.dirs.len() == 1 => return Err(error),
                Err(error) => {
                    out.flush()?; // in the order of the directories
                    console.warn(format_args!("{error:#}"));
                    failed += 1;
                }
            }
        }
        out.finish()?;
        match failed {
            0 => Ok(()),
            n => bail!("{n} directories hold no model that can be read"),
        }
    }

    fn describe(&self, out: &mut impl Write, dir: &Path) -> anyhow::Result<()> {
        let context = || format!("cannot load a model from {}", dir.display());
        let model = Model::open(dir, &Device::Cpu).with_context(context)?;
        let tokenizers = Tokenizers::open(dir).with_context(context)?;
        check_tokenizers(model.vocabs(), &tokenizers).with_context(context)?;
        let search = SearchConfig::open(dir).with_context(context)?;
        let calibration = Calibration::open(dir).with_context(context)?;
        let n_parameters = model.parameters().count();
        if self.json {
            let record = json!({
                "dir": dir, "model": model.config(), "vocab": model.vocabs(),
                "parameters": n_parameters, "precision": model.stored(), "search": search,
                "alignment": calibration.map(|found| found.reading.to_string()),
            });
            return Ok(writeln!(out, "{record}")?);
        }
        let vocabs = model.vocabs();
        let (network, attention) = match model.config() {
            ModelConfig::Rnn(config) => (recurrent(config), luong(config)),
            ModelConfig::Transformer(config) => (transformer(config), multi_head(config)),
        };
        writeln!(out, "{}", dir.display())?;
        writeln!(out, "  model       {network}")?;
        writeln!(out, "  attention   {attention}")?;
        if let Some(found) = &calibration {
            let choice = found.reading;
            writeln!(out, "  alignment   {choice}; {}", calibration_in_words(found))?;
        }
        let rounded = match model.stored() {
            SearchPrecision::Int8 => ", matrices of eight bits",
            SearchPrecision::F32 | SearchPrecision::Bf16 => "",
        };
        writeln!(out, "  parameters  {}{rounded}", count(n_parameters))?;
        let kind = if vocabs.joint { "joint" } else { "separate" };
        writeln!(out, "  vocabulary  {kind}, {} source, {} target tokens", vocabs.src, vocabs.tgt)?;
        writeln!(
            out,
            "  search      beam {}, length penalty {}",
            search.beam, search.length_penalty
        )?;
        if self.parameters {
            for (name, var) in model.parameters().iter() {
                writeln!(out, "    {name:44} {:?}", var.dims())?;
            }
        }
        Ok(())
    }
}

/// The model directory itself, or the models in a run directory.
fn models(dir: &Path) -> Vec<PathBuf> {
    let holds_model = |dir: &Path| dir.join(checkpoint::CONFIG).is_file();
    if holds_model(dir) {
        return vec![dir.to_owned()];
    }
    let inside: Vec<PathBuf> = ["best", "last", "averaged"]
        .map(|name| dir.join(name))
        .into_iter()
        .filter(|dir| holds_model(dir))
        .collect();
    if inside.is_empty() { vec![dir.to_owned()] } else { inside }
}

/// A recurrent network in words.
fn recurrent(config: &RnnConfig) -> String {
    let cell = match config.cell {
        Cell::Lstm => "LSTM",
        Cell::Gru => "GRU",
    };
    let direction = if config.bidirectional { ", bidirectional encoder" } else { "" };
    let residual = if config.residual { ", residual" } else { "" };
    let (layers, dim, embed_dim) = (config.layers, config.dim, config.embed_dim);
    let layers = if layers.get() == 1 { "1 layer".into() } else { format!("{layers} layers") };
    format!("{cell}, {layers} of {dim}, embeddings of {embed_dim}{direction}{residual}")
}

/// A Transformer in words.
fn transformer(config: &TransformerConfig) -> String {
    let (encoder, decoder, dim) = (config.encoder_layers, config.decoder_layers, config.dim);
    let (ffn_dim, activation) = (config.ffn_dim, name(&config.activation));
    let gated = if config.gated { "gated " } else { "" };
    format!("Transformer, {encoder}+{decoder} layers of {dim}, {gated}{activation} of {ffn_dim}")
}

/// The attention of a Transformer in words.
fn multi_head(config: &TransformerConfig) -> String {
    let window = config.window.map_or(String::new(), |window| format!(", window {window}"));
    let positions = name(&config.positions);
    format!("{} heads of {}, {positions} positions{window}", config.heads, config.head_dim())
}

/// A value of the configuration as it stands in the file.
fn name(value: &impl serde::Serialize) -> String {
    json!(value).as_str().unwrap_or_default().to_owned()
}

/// Luong's attention in words: the names of the configuration.
fn luong(config: &RnnConfig) -> String {
    let attention = &config.attention;
    let kind = name(&attention.kind);
    if attention.kind == Kind::None {
        return kind;
    }
    let window = match attention.kind {
        Kind::LocalM | Kind::LocalP => format!(", window {}", attention.window),
        _ => String::new(),
    };
    let feeding = if config.input_feeding { ", input feeding" } else { "" };
    format!("{kind}, {} score{window}{feeding}", name(&attention.score))
}
