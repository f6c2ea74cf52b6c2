//! The Transformer (Vaswani et al., 2017): encoder and decoder of self-attention.
//!
//! Each sublayer, norm to residual connection, is one operation on the tape (`sublayer.rs`), so a
//! layer costs the tape two nodes, or three. Rows are packed sentence after sentence.

mod attention;
mod embedding;
mod feed_forward;
mod network;
mod search;
mod skip;
mod sublayer;

use std::sync::Arc;

use attn::multi_head::Visible;
use candle_core::Tensor;
use kernels::dropout::Mask;
use kernels::norm::normalise;
use kernels::{Mode, Real};

pub use search::Attended;
pub(crate) use search::{Ready, State, gpu};

use self::attention::{CROSS_PARTS, CrossAttention, GuidedHeads, SELF_PARTS, SelfAttention};
use self::embedding::Embed;
use self::feed_forward::FeedForward;
use self::sublayer::{Body, Frame, NormTensors, sublayer};
use crate::batch::Sentences;
use crate::config::{DropRate, Norm, NormPlace, Positions, TransformerConfig};
use crate::parameters::{Init, Parameters, Spec};
use crate::rnn::tables;
use crate::{Batch, Loss, Objective, Result, Vocabs};

/// Places where a layer draws random numbers; layers are [`site::LAYER`] apart.
mod site {
    pub(super) const EMBEDDING: u32 = 0;
    pub(super) const WORDS: u32 = 1;
    pub(super) const ATTENTION: u32 = 2;
    pub(super) const ATTENTION_WEIGHTS: u32 = 3;
    pub(super) const CROSS: u32 = 4;
    pub(super) const CROSS_WEIGHTS: u32 = 5;
    pub(super) const FEED_FORWARD: u32 = 6;
    pub(super) const ACTIVATION: u32 = 7;
    pub(super) const SKIP: u32 = 8;
    /// Distance of two layers.
    pub(super) const LAYER: u32 = 16;
    /// Where the decoder's begin.
    pub(super) const DECODER: u32 = 1 << 16;
}

/// One of the two stacks of layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stack {
    Encoder,
    Decoder,
}

impl Stack {
    fn name(self) -> &'static str {
        match self {
            Self::Encoder => "encoder",
            Self::Decoder => "decoder",
        }
    }

    fn site(self) -> u32 {
        match self {
            Self::Encoder => 0,
            Self::Decoder => site::DECODER,
        }
    }

    /// Where layer `layer` draws its numbers.
    fn layer_site(self, layer: usize) -> u32 {
        self.site() + (layer as u32 + 1) * site::LAYER
    }
}

/// A network: its configuration and where its parameters are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Transformer<'a> {
    pub(crate) config: &'a TransformerConfig,
    pub(crate) parameters: &'a Parameters,
}

/// What the decoder computes.
struct Decoded {
    /// What the output layer sees: `[tgt rows, dim]`.
    states: Tensor,
    /// The loss of the attention that is guided, `[1]`; none if its layer is left out.
    alignment: Option<Tensor>,
}

/// The parameters that a configuration asks for.
pub(crate) fn specs(config: &TransformerConfig, vocabs: &Vocabs) -> Result<Vec<Spec>> {
    config.check(vocabs.joint)?;
    let (dim, ffn_dim) = (config.dim.get(), config.ffn_dim.get());
    let mut specs: Vec<Spec> = Vec::new();
    let mut add = |name: String, shape: &[usize], init| {
        if specs.iter().all(|spec| spec.name != name) {
            specs.push(Spec { name, shape: shape.to_vec(), init });
        }
    };
    let (src, tgt, output) = tables(config.tie);
    // Embeddings are multiplied by √dim and meet positions of size one; as output weights they
    // give logits of size one.
    let table = Init::with_deviation((dim as f64).sqrt().recip());
    add(src.into(), &[vocabs.src, dim], table);
    add(tgt.into(), &[vocabs.tgt, dim], table);
    add(output.into(), &[vocabs.tgt, dim], table);
    add("output.bias".into(), &[vocabs.tgt], Init::ZERO);

    let one = Init::ZeroExcept { from: 0, to: dim };
    let norm = |add: &mut dyn FnMut(String, &[usize], Init), prefix: &str| {
        add(format!("{prefix}.weight"), &[dim], one);
        if config.norm == Norm::Layer {
            add(format!("{prefix}.bias"), &[dim], Init::ZERO);
        }
    };
    let affine =
        |add: &mut dyn FnMut(String, &[usize], Init), prefix: String, output, input, init| {
            add(format!("{prefix}.weight"), &[output, input], init);
            add(format!("{prefix}.bias"), &[output], Init::ZERO);
        };
    // Queries, keys and values stand in one matrix of 3 dim rows: `Init::glorot` of that shape.
    let projection = Init::glorot(dim, 3 * dim);
    for (stack, layers) in
        [(Stack::Encoder, config.encoder_layers), (Stack::Decoder, config.decoder_layers)]
    {
        for l in 0..layers.get() {
            let prefix = format!("{}.{l}", stack.name());
            affine(&mut add, format!("{prefix}.attention.input"), 3 * dim, dim, projection);
            affine(
                &mut add,
                format!("{prefix}.attention.output"),
                dim,
                dim,
                Init::glorot(dim, dim),
            );
            norm(&mut add, &format!("{prefix}.attention.norm"));
            if stack == Stack::Decoder {
                affine(&mut add, format!("{prefix}.cross.query"), dim, dim, projection);
                affine(&mut add, format!("{prefix}.cross.memory"), 2 * dim, dim, projection);
                affine(
                    &mut add,
                    format!("{prefix}.cross.output"),
                    dim,
                    dim,
                    Init::glorot(dim, dim),
                );
                norm(&mut add, &format!("{prefix}.cross.norm"));
            }
            let inner = if config.gated { 2 * ffn_dim } else { ffn_dim };
            let init = Init::glorot(dim, ffn_dim);
            affine(&mut add, format!("{prefix}.feed_forward.input"), inner, dim, init);
            affine(&mut add, format!("{prefix}.feed_forward.output"), dim, ffn_dim, init);
            norm(&mut add, &format!("{prefix}.feed_forward.norm"));
        }
        if config.norm_place == NormPlace::Before {
            norm(&mut add, &format!("{}.norm", stack.name()));
        }
        if config.positions == Positions::Learned {
            let name = format!("{}.positions.weight", stack.name());
            add(name, &[config.max_len.get(), dim], table);
        }
    }
    Ok(specs)
}

impl Transformer<'_> {
    /// The loss of a batch.
    pub(crate) fn loss<T: Real>(
        &self,
        batch: &Batch,
        objective: &Objective,
        mode: &Mode,
    ) -> Result<Loss> {
        let memory = self.encode::<T>(&batch.src.sentences, mode)?;
        let source = (&memory, &batch.src.sentences.offsets);
        let guide = self.guide(batch, objective)?;
        let Decoded { states, alignment } =
            self.decode::<T>(&batch.reads, source, guide.as_ref(), mode)?;
        let output = (self.parameters, self.config.tie);
        let loss =
            objective.loss::<T>(output, &states, &batch.writes.ids, || twins(batch), mode)?;
        objective.with_alignment(loss, alignment, batch, mode)
    }

    /// Which attention is guided, and where to.
    fn guide(&self, batch: &Batch, objective: &Objective) -> Result<Option<(usize, GuidedHeads)>> {
        let Some((guided, guide)) = objective.guide(batch) else { return Ok(None) };
        let layer = self.config.cross_layer(guided.layer, &guided.heads)?;
        let (heads, rows) = (guided.heads.clone().into(), guide.by_sentence().clone());
        Ok(Some((layer, GuidedHeads { heads, rows })))
    }

    /// Encoded sentences, `[src rows, dim]`.
    fn encode<T: Real>(&self, src: &Sentences, mode: &Mode) -> Result<Tensor> {
        let stack = Stack::Encoder;
        let mut x = self.embed::<T>(stack, src, mode)?;
        for l in 0..self.config.encoder_layers.get() {
            if self.skips(stack, l, mode) {
                x = self.leave_out::<T>(stack, l, &x)?;
                continue;
            }
            let site = stack.layer_site(l);
            x = self.self_attention::<T>(stack, l, &x, src, mode)?;
            x = self.feed_forward::<T>(stack, l, &x, site, mode)?;
        }
        self.close::<T>(stack, x)
    }

    /// What the output layer sees, and the loss of the attention that is guided. `source` are
    /// encoded sentences with their offsets.
    fn decode<T: Real>(
        &self,
        tgt: &Sentences,
        (memory, src_offsets): (&Tensor, &Arc<[usize]>),
        guide: Option<&(usize, GuidedHeads)>,
        mode: &Mode,
    ) -> Result<Decoded> {
        let stack = Stack::Decoder;
        let mut x = self.embed::<T>(stack, tgt, mode)?;
        let mut alignment = None;
        for l in 0..self.config.decoder_layers.get() {
            if self.skips(stack, l, mode) {
                x = self.leave_out::<T>(stack, l, &x)?;
                continue;
            }
            let site = stack.layer_site(l);
            x = self.self_attention::<T>(stack, l, &x, tgt, mode)?;
            let body = CrossAttention {
                heads: self.config.heads.get(),
                head_dim: self.config.head_dim(),
                tgt_offsets: tgt.offsets.clone(),
                src_offsets: src_offsets.clone(),
                dropout: mask(self.config.attention_dropout, mode, site + site::CROSS_WEIGHTS),
                guided: guide.filter(|(layer, _)| *layer == l).map(|(_, guided)| guided.clone()),
            };
            let guided = body.guided.is_some();
            let prefix = format!("decoder.{l}.cross");
            let drop = mask(self.config.dropout, mode, site + site::CROSS);
            let out = self.apply::<T, _>(&prefix, body, drop, &x, Some(memory), &CROSS_PARTS)?;
            x = if guided { self.split(&out, &mut alignment)? } else { out };
            x = self.feed_forward::<T>(stack, l, &x, site, mode)?;
        }
        Ok(Decoded { states: self.close::<T>(stack, x)?, alignment })
    }

    /// The rows that a guided attention gives, and its loss, which stands behind them.
    fn split(&self, out: &Tensor, alignment: &mut Option<Tensor>) -> Result<Tensor> {
        let dim = self.config.dim.get();
        let rows = (out.elem_count() - 1) / dim;
        *alignment = Some(out.narrow(0, rows * dim, 1)?);
        Ok(out.narrow(0, 0, rows * dim)?.reshape((rows, dim))?)
    }

    fn self_attention<T: Real>(
        &self,
        stack: Stack,
        layer: usize,
        x: &Tensor,
        sentences: &Sentences,
        mode: &Mode,
    ) -> Result<Tensor> {
        let site = stack.layer_site(layer);
        let body = SelfAttention {
            heads: self.config.heads.get(),
            head_dim: self.config.head_dim(),
            offsets: sentences.offsets.clone(),
            visible: self.visible(stack),
            rotary: self.config.positions == Positions::Rotary,
            dropout: mask(self.config.attention_dropout, mode, site + site::ATTENTION_WEIGHTS),
        };
        let prefix = format!("{}.{layer}.attention", stack.name());
        let drop = mask(self.config.dropout, mode, site + site::ATTENTION);
        self.apply::<T, _>(&prefix, body, drop, x, None, &SELF_PARTS)
    }

    /// Which words of its own sentence a word sees.
    fn visible(&self, stack: Stack) -> Visible {
        let all = match stack {
            Stack::Encoder => Visible::ALL,
            Stack::Decoder => Visible::PAST,
        };
        self.config.window.map_or(all, |window| all.within(window.get()))
    }

    fn feed_forward<T: Real>(
        &self,
        stack: Stack,
        layer: usize,
        x: &Tensor,
        site: u32,
        mode: &Mode,
    ) -> Result<Tensor> {
        let body = FeedForward {
            dim: self.config.dim.get(),
            ffn_dim: self.config.ffn_dim.get(),
            activation: self.config.activation.into(),
            gated: self.config.gated,
            dropout: mask(self.config.activation_dropout, mode, site + site::ACTIVATION),
        };
        let prefix = format!("{}.{layer}.feed_forward", stack.name());
        let drop = mask(self.config.dropout, mode, site + site::FEED_FORWARD);
        self.apply::<T, _>(&prefix, body, drop, x, None, &feed_forward::PARTS)
    }

    /// A sublayer whose parameters stand under `prefix`: its norm, then `parts` after `memory`.
    fn apply<T: Real, B: Body<T>>(
        &self,
        prefix: &str,
        body: B,
        drop: Option<Mask>,
        x: &Tensor,
        memory: Option<&Tensor>,
        parts: &[&str],
    ) -> Result<Tensor> {
        let parameters = parts.iter().map(|part| self.parameters.get(&format!("{prefix}.{part}")));
        let inputs: Vec<&Tensor> = memory.into_iter().chain(parameters).collect();
        let norm = self.norm(&format!("{prefix}.norm"));
        Ok(sublayer::<T, B>(self.frame(), body, drop, x, norm, &inputs)?)
    }

    fn frame(&self) -> Frame {
        Frame {
            norm: self.config.norm,
            place: self.config.norm_place,
            dim: self.config.dim.get(),
            recompute: self.config.recompute,
        }
    }

    /// The parameters of a norm.
    fn norm(&self, prefix: &str) -> NormTensors<'_> {
        let bias = self.parameters.find(&format!("{prefix}.bias"));
        NormTensors {
            weight: self.parameters.get(&format!("{prefix}.weight")),
            bias: bias.map(|var| var.as_tensor()),
        }
    }

    /// The end of a stack: with norms before the sublayers, a last one.
    fn close<T: Real>(&self, stack: Stack, x: Tensor) -> Result<Tensor> {
        match self.config.norm_place {
            NormPlace::Before => {
                let norm = self.norm(&format!("{}.norm", stack.name()));
                Ok(normalise::<T>(self.config.norm.into(), &x, norm.weight, norm.bias)?)
            }
            NormPlace::After => Ok(x),
        }
    }

    /// Whether training leaves this layer out this time.
    fn skips(&self, stack: Stack, layer: usize, mode: &Mode) -> bool {
        let Mode::Train(random) = mode else { return false };
        let rate = self.config.layer_drop.get();
        let site = stack.layer_site(layer) + site::SKIP;
        rate > 0.0 && random.at(site).stream().uniform() < rate
    }

    /// The input of a layer that is left out.
    fn leave_out<T: Real>(&self, stack: Stack, layer: usize, x: &Tensor) -> Result<Tensor> {
        let prefix = format!("{}.{layer}.", stack.name());
        let all = self.parameters.iter().filter(|(name, _)| name.starts_with(&prefix));
        let parameters: Vec<&Tensor> = all.map(|(_, var)| var.as_tensor()).collect();
        Ok(skip::skip::<T>(x, &parameters)?)
    }

    /// Embedded words with their positions, `[rows, dim]`.
    fn embed<T: Real>(&self, stack: Stack, sentences: &Sentences, mode: &Mode) -> Result<Tensor> {
        self.config.check_length(sentences.longest())?;
        let (src, tgt, _) = tables(self.config.tie);
        let table = match stack {
            Stack::Encoder => src,
            Stack::Decoder => tgt,
        };
        let learned = format!("{}.positions.weight", stack.name());
        let embed = Embed {
            table: self.parameters.get(table),
            learned: self.parameters.find(&learned).map(|var| var.as_tensor()),
            sinusoidal: self.config.positions == Positions::Sinusoidal,
            words: mask(self.config.word_dropout, mode, stack.site() + site::WORDS),
            dropout: mask(self.config.dropout, mode, stack.site() + site::EMBEDDING),
        };
        Ok(embed.apply::<T>(sentences)?)
    }
}

/// What embeddings are multiplied by: `√dim`.
fn scale<T: Real>(dim: usize) -> T {
    T::of((dim as f64).sqrt())
}

/// The two rows of each target token of a batch that holds every pair twice, packed by sentence.
fn twins(batch: &Batch) -> Vec<[u32; 2]> {
    let half = batch.tgt_tokens() as u32 / 2;
    (0..half).map(|row| [row, half + row]).collect()
}

/// The mask of a place in training, if it drops anything.
fn mask(rate: DropRate, mode: &Mode, site: u32) -> Option<Mask> {
    match mode {
        Mode::Train(random) if rate.get() > 0.0 => Some(Mask::new(random.at(site), rate.get())),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
