//! The Transformer over tensors: in ordinary operations its definition, which is the test of the
//! fused path and runs on any device, and in those of [`kernels::gpu`] what trains on a GPU.
//!
//! Rows stay packed; only attention by definition pads them, through
//! [`attn::multi_head::reference`]. Dropout draws the same masks as the fused path, so all ways
//! train alike, number for number up to rounding.

use attn::multi_head::{MultiHead, Visible, reference};
use candle_core::{DType, Tensor};
use kernels::dropout::Mask;
use kernels::gpu::attention::{self, Sentences as Places};
use kernels::gpu::{Embedding, Occurrences, embed};
use kernels::{Mode, positions};

use super::{Decoded, GuidedHeads, Stack, Transformer, mask, site, twins};
use crate::batch::Sentences;
use crate::config::{DropRate, NormPlace, Positions, TransformerConfig};
use crate::rnn::tables;
use crate::tensors::{Tensors, Way, known, pick};
use crate::{Batch, Loss, Objective, Result};

impl Transformer<'_> {
    /// The loss of a batch on the device of the parameters.
    pub(crate) fn loss_by(
        &self,
        way: Way,
        batch: &Batch,
        objective: &Objective,
        mode: &Mode,
    ) -> Result<Loss> {
        let guide = self.guide(batch, objective)?;
        let tensors = Tensors::new(self.parameters, mode, way);
        let places = (way != Way::Plain).then(|| self.places(batch)).transpose()?;
        let network = Network { of: *self, mode, guide, tensors, places };
        let memory = network.encode(&batch.src.sentences)?;
        let source = (&memory, &*batch.src.sentences.offsets);
        let Decoded { states, alignment } = network.decode(&batch.reads, source)?;
        let output = (&network.tensors, self.config.tie);
        let loss = objective.loss_by(output, &states, &batch.writes.ids, || twins(batch), mode)?;
        objective.with_alignment(loss, alignment, batch, mode)
    }
}

impl Transformer<'_> {
    /// Encoded sentences for a search on a GPU, `[src rows, dim]`.
    pub(super) fn encode_with(&self, tensors: Tensors, src: &Sentences) -> Result<Tensor> {
        let around = self.between(&src.offsets, &src.offsets)?;
        let places = Some([around.clone(), around.clone(), around]);
        Network { of: *self, mode: &Mode::Eval, guide: None, tensors, places }.encode(src)
    }

    /// Where the rows of a batch are on the device of the parameters.
    fn places(&self, batch: &Batch) -> Result<[Places; 3]> {
        let (src, tgt) = (&*batch.src.sentences.offsets, &*batch.reads.offsets);
        Ok([self.between(src, src)?, self.between(tgt, tgt)?, self.between(tgt, src)?])
    }

    fn between(&self, query_offsets: &[usize], key_offsets: &[usize]) -> Result<Places> {
        let attention = self.heads(query_offsets, key_offsets, Visible::ALL, None);
        Ok(attention.sentences_on(&self.parameters.device())?)
    }

    fn heads<'b>(
        &self,
        query_offsets: &'b [usize],
        key_offsets: &'b [usize],
        visible: Visible,
        dropout: Option<&'b Mask>,
    ) -> MultiHead<'b> {
        let (heads, head_dim) = (self.config.heads.get(), self.config.head_dim());
        MultiHead { heads, head_dim, query_offsets, key_offsets, visible, dropout }
    }
}

/// The network with its parameters as tensors.
struct Network<'a> {
    of: Transformer<'a>,
    mode: &'a Mode,
    /// The layer whose attention is guided, and where to.
    guide: Option<(usize, GuidedHeads)>,
    tensors: Tensors,
    /// Where rows are on a GPU, for attention within the source, within the target, and between.
    places: Option<[Places; 3]>,
}

/// Which sentences attend to which.
#[derive(Clone, Copy, Debug)]
enum Between {
    Source,
    Target,
    Both,
}

impl Network<'_> {
    fn config(&self) -> &TransformerConfig {
        self.of.config
    }

    /// Encoded sentences, `[src rows, dim]`.
    fn encode(&self, src: &Sentences) -> Result<Tensor> {
        let stack = Stack::Encoder;
        let mut x = self.embed(stack, src)?;
        for l in 0..self.config().encoder_layers.get() {
            if self.of.skips(stack, l, self.mode) {
                x = self.leave_out(stack, l, x)?;
                continue;
            }
            x = self.self_attention(stack, l, x, src)?;
            x = self.feed_forward(stack, l, x)?;
        }
        self.close(stack, x)
    }

    /// What the output layer sees, and the loss of the attention that is guided. `source` are
    /// encoded sentences with their offsets.
    fn decode(&self, tgt: &Sentences, source: (&Tensor, &[usize])) -> Result<Decoded> {
        let stack = Stack::Decoder;
        let mut x = self.embed(stack, tgt)?;
        let mut alignment = None;
        for l in 0..self.config().decoder_layers.get() {
            if self.of.skips(stack, l, self.mode) {
                x = self.leave_out(stack, l, x)?;
                continue;
            }
            x = self.self_attention(stack, l, x, tgt)?;
            x = self.cross_attention(l, x, tgt, source, &mut alignment)?;
            x = self.feed_forward(stack, l, x)?;
        }
        Ok(Decoded { states: self.close(stack, x)?, alignment })
    }

    /// Embedded words with their positions, `[rows, dim]`.
    fn embed(&self, stack: Stack, sentences: &Sentences) -> Result<Tensor> {
        self.of.config.check_length(sentences.longest())?;
        let config = self.config();
        let (src, tgt, _) = tables(config.tie);
        let (table, side) = match stack {
            Stack::Encoder => (src, "source"),
            Stack::Decoder => (tgt, "target"),
        };
        if let Way::Gpu(dtype) = self.tensors.way() {
            return self.embed_on_gpu(dtype, (table, side), stack, sentences);
        }
        let words = self.tensors.embed(table, &sentences.ids, side)?; // [rows, dim]
        let mut x = (words * (config.dim.get() as f64).sqrt())?;
        if let Some(words) = self.mask(config.word_dropout, stack.site() + site::WORDS) {
            let kept = self.factors(&words, sentences.ids.len(), 1)?.gt(0f64)?; // [rows, 1]
            x = x.broadcast_mul(&kept.to_dtype(x.dtype())?)?;
        }
        if let Some(table) = self.positions(stack, sentences.longest())? {
            x = (x + pick(&table, &positions::places(&sentences.offsets))?)?;
        }
        self.drop(x, config.dropout, stack.site() + site::EMBEDDING)
    }

    /// The same in one operation of the GPU.
    fn embed_on_gpu(
        &self,
        dtype: DType,
        (table, side): (&str, &'static str),
        stack: Stack,
        sentences: &Sentences,
    ) -> Result<Tensor> {
        let (config, device) = (self.config(), self.tensors.device());
        let table = self.tensors.get(table);
        known(side, &sentences.ids, table)?;
        let positions = self.positions(stack, sentences.longest())?;
        let places = positions.as_ref().map(|_| positions::places(&sentences.offsets));
        let embedding = Embedding {
            words: Occurrences::new(&sentences.ids, device)?,
            places: places.map(|places| Occurrences::new(&places, device)).transpose()?,
            learned: config.positions == Positions::Learned,
            scale: (config.dim.get() as f64).sqrt(),
            word_mask: self.mask(config.word_dropout, stack.site() + site::WORDS),
            mask: self.mask(config.dropout, stack.site() + site::EMBEDDING),
            dtype,
        };
        Ok(embed(embedding, table, positions.as_ref())?)
    }

    /// What is added to the words at each position, `[at least len, dim]`.
    fn positions(&self, stack: Stack, len: usize) -> Result<Option<Tensor>> {
        let dim = self.config().dim.get();
        Ok(match self.config().positions {
            Positions::Sinusoidal => {
                let table = positions::sinusoidal::<f64>(len, dim);
                let table = Tensor::from_vec(table, (len, dim), &candle_core::Device::Cpu)?;
                Some(table.to_dtype(self.tensors.dtype())?.to_device(self.tensors.device())?)
            }
            Positions::Learned => {
                Some(self.tensors.get(&format!("{}.positions.weight", stack.name())).clone())
            }
            Positions::Rotary => None,
        })
    }

    /// Attention of words to words of their own sentence.
    fn self_attention(
        &self,
        stack: Stack,
        layer: usize,
        x: Tensor,
        sentences: &Sentences,
    ) -> Result<Tensor> {
        let dim = self.config().dim.get();
        let (site, offsets) = (stack.layer_site(layer), &*sentences.offsets);
        let weights = self.mask(self.config().attention_dropout, site + site::ATTENTION_WEIGHTS);
        let visible = self.of.visible(stack);
        let attention = self.of.heads(offsets, offsets, visible, weights.as_ref());
        let prefix = format!("{}.{layer}.attention", stack.name());
        self.sublayer(&prefix, site + site::ATTENTION, x, |x| {
            let projected = self.tensors.affine(&format!("{prefix}.input"), x)?; // [rows, 3 dim]
            if self.tensors.way() != Way::Plain {
                let between = match stack {
                    Stack::Encoder => Between::Source,
                    Stack::Decoder => Between::Target,
                };
                let heads = attention.on_gpu(self.places(between));
                let places = (self.config().positions == Positions::Rotary)
                    .then(|| Tensor::new(positions::places(offsets), x.device()))
                    .transpose()?;
                let contexts = attention::to_itself(heads, &projected, places.as_ref())?;
                return self.tensors.affine(&format!("{prefix}.output"), &contexts);
            }
            let part = |part: usize| projected.narrow(1, part * dim, dim);
            let (mut query, mut key) = (part(0)?, part(1)?); // [rows, dim]
            if self.config().positions == Positions::Rotary {
                let places = positions::places(offsets);
                query = reference::rotate(&query, attention.heads, &places)?;
                key = reference::rotate(&key, attention.heads, &places)?;
            }
            let contexts = reference::forward(&attention, &query, &key, &part(2)?)?;
            self.tensors.affine(&format!("{prefix}.output"), &contexts)
        })
    }

    /// Attention of target words to source words.
    fn cross_attention(
        &self,
        layer: usize,
        x: Tensor,
        tgt: &Sentences,
        (memory, src_offsets): (&Tensor, &[usize]),
        alignment: &mut Option<Tensor>,
    ) -> Result<Tensor> {
        let dim = self.config().dim.get();
        let site = Stack::Decoder.layer_site(layer);
        let weights = self.mask(self.config().attention_dropout, site + site::CROSS_WEIGHTS);
        let attention = self.of.heads(&tgt.offsets, src_offsets, Visible::ALL, weights.as_ref());
        let prefix = format!("decoder.{layer}.cross");
        self.sublayer(&prefix, site + site::CROSS, x, |x| {
            let query = self.tensors.affine(&format!("{prefix}.query"), x)?; // [tgt rows, dim]
            let both = self.tensors.affine(&format!("{prefix}.memory"), memory)?; // [src rows, 2 dim]
            let (key, value) = (both.narrow(1, 0, dim)?, both.narrow(1, dim, dim)?);
            if let Some((_, guided)) = self.guide.as_ref().filter(|(guided, _)| *guided == layer) {
                let wide = |x: &Tensor| x.to_dtype(self.tensors.dtype());
                let (query, key) = (wide(&query)?, wide(&key)?);
                *alignment =
                    Some(reference::guided_loss(&attention, &query, &key, &guided.view())?);
            }
            let contexts = match self.tensors.way() {
                Way::Plain => reference::forward(&attention, &query, &key, &value)?,
                Way::Gpu(_) => {
                    let heads = attention.on_gpu(self.places(Between::Both));
                    attention::to_memory(heads, &query, &both)?
                }
            };
            self.tensors.affine(&format!("{prefix}.output"), &contexts)
        })
    }

    /// The feed-forward network of a layer.
    fn feed_forward(&self, stack: Stack, layer: usize, x: Tensor) -> Result<Tensor> {
        let (config, site) = (self.config(), stack.layer_site(layer));
        let prefix = format!("{}.{layer}.feed_forward", stack.name());
        self.sublayer(&prefix, site + site::FEED_FORWARD, x, |x| {
            let inner = self.tensors.affine(&format!("{prefix}.input"), x)?;
            let mask = self.mask(config.activation_dropout, site + site::ACTIVATION);
            let (kind, gated) = (config.activation.into(), config.gated);
            let inner = self.tensors.activate(kind, gated, &inner, mask.as_ref())?; // [rows, ffn_dim]
            self.tensors.affine(&format!("{prefix}.output"), &inner)
        })
    }

    /// `x + dropout(body(norm(x)))`, or `norm(x + dropout(body(x)))`: `[rows, dim]`.
    fn sublayer(
        &self,
        prefix: &str,
        site: u32,
        x: Tensor,
        body: impl FnOnce(&Tensor) -> Result<Tensor>,
    ) -> Result<Tensor> {
        let norm = format!("{prefix}.norm");
        let mask = self.mask(self.config().dropout, site);
        let add = |out| self.tensors.drop_and_add(out, Some(&x), mask.as_ref());
        match self.config().norm_place {
            NormPlace::Before => add(body(&self.norm(&norm, &x)?)?),
            NormPlace::After => self.norm(&norm, &add(body(&x)?)?),
        }
    }

    fn norm(&self, prefix: &str, x: &Tensor) -> Result<Tensor> {
        self.tensors.norm(self.config().norm.into(), prefix, x)
    }

    /// Where the rows of attention are on a GPU.
    fn places(&self, between: Between) -> Places {
        let [source, target, both] = self.places.as_ref().expect("made for this way of computing");
        match between {
            Between::Source => source.clone(),
            Between::Target => target.clone(),
            Between::Both => both.clone(),
        }
    }

    /// The end of a stack: with norms before the sublayers, a last one.
    fn close(&self, stack: Stack, x: Tensor) -> Result<Tensor> {
        match self.config().norm_place {
            NormPlace::Before => self.norm(&format!("{}.norm", stack.name()), &x),
            NormPlace::After => Ok(x),
        }
    }

    /// The input of a layer that is left out; a number of each of its parameters, times zero,
    /// leaves them on the tape.
    fn leave_out(&self, stack: Stack, layer: usize, mut x: Tensor) -> Result<Tensor> {
        for parameter in self.tensors.under(&format!("{}.{layer}.", stack.name())) {
            let one = parameter.flatten_all()?.narrow(0, 0, 1)?.to_dtype(x.dtype())?; // [1]
            // As a tensor: at a zero that is a number the tape ends.
            x = x.broadcast_add(&(&one * one.zeros_like()?)?)?;
        }
        Ok(x)
    }

    /// Dropout of `[rows, width]` at a place of the network.
    fn drop(&self, x: Tensor, rate: DropRate, site: u32) -> Result<Tensor> {
        self.tensors.drop_and_add(x, None, self.mask(rate, site).as_ref())
    }

    fn mask(&self, rate: DropRate, site: u32) -> Option<Mask> {
        mask(rate, self.mode, site)
    }

    fn factors(&self, mask: &Mask, rows: usize, width: usize) -> Result<Tensor> {
        self.tensors.factors(mask, std::slice::from_ref(&(0..rows)), width)
    }
}
