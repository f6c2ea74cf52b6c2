//! `nmt info`: what a model directory holds.

use std::{
    io::Write,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use candle_core::Device;
use model::{Cell, Kind, Model, ModelConfig, RnnConfig, checkpoint};
use serde_json::json;
use text::Tokenizers;
use translate::{SearchConfig, translator::check_tokenizers};

use crate::{
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
        check_tokenizers(&model, &tokenizers).with_context(context)?;
        let search = SearchConfig::open(dir).with_context(context)?;
        let n_parameters = model.parameters().count();
        if self.json {
            let record = json!({
                "dir": dir, "model": model.config(), "vocab": model.vocabs(),
                "parameters": n_parameters, "search": search,
            });
            return Ok(writeln!(out, "{record}")?);
        }
        let vocabs = model.vocabs();
        let ModelConfig::Rnn(config) = model.config();
        writeln!(out, "{}", dir.display())?;
        writeln!(out, "  model       {}", network(config))?;
        writeln!(out, "  attention   {}", attention(config))?;
        writeln!(out, "  parameters  {}", count(n_parameters))?;
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

/// The network in words.
fn network(config: &RnnConfig) -> String {
    let cell = match config.cell {
        Cell::Lstm => "LSTM",
        Cell::Gru => "GRU",
    };
    let direction = if config.bidirectional { ", bidirectional encoder" } else { "" };
    let residual = if config.residual { ", residual" } else { "" };
    let (layers, dim, embed_dim) = (config.layers, config.dim, config.embed_dim);
    format!("{cell}, {layers} layers of {dim}, embeddings of {embed_dim}{direction}{residual}")
}

/// The attention in words: the names of the configuration.
fn attention(config: &RnnConfig) -> String {
    let name = |value: serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let attention = &config.attention;
    let kind = name(json!(attention.kind));
    if attention.kind == Kind::None {
        return kind;
    }
    let window = match attention.kind {
        Kind::LocalM | Kind::LocalP => format!(", window {}", attention.window),
        _ => String::new(),
    };
    let feeding = if config.input_feeding { ", input feeding" } else { "" };
    format!("{kind}, {} score{window}{feeding}", name(json!(attention.score)))
}
