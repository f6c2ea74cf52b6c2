//! The attention sublayers of a layer (§3.2 of the paper): over the sentence itself, and from the
//! target over the encoded source.

use std::sync::Arc;

use attn::multi_head::{
    Grads, Guided, MultiHead, Rows, RowsMut, Saved as Attended, Visible, rotary,
};
use kernels::Real;
use kernels::affine::Affine;
use kernels::dropout::Mask;
use kernels::matmul::Target;

use super::sublayer::Body;
use crate::{Result, guide};

/// Names of the parameters of attention over the sentence itself, in the order of its inputs.
pub(super) const SELF_PARTS: [&str; 4] =
    ["input.weight", "input.bias", "output.weight", "output.bias"];
/// Names of the parameters of attention over the source, after the source itself.
pub(super) const CROSS_PARTS: [&str; 6] =
    ["query.weight", "query.bias", "memory.weight", "memory.bias", "output.weight", "output.bias"];

/// Attention of words to words of their own sentence.
pub(super) struct SelfAttention {
    pub(super) heads: usize,
    pub(super) head_dim: usize,
    /// Where sentences start.
    pub(super) offsets: Arc<[usize]>,
    pub(super) visible: Visible,
    /// Whether queries and keys are rotated by their position.
    pub(super) rotary: bool,
    /// Drops attention weights.
    pub(super) dropout: Option<Mask>,
}

/// What is kept of an attention.
pub(super) struct Kept<T> {
    /// Queries, keys and values side by side: `[rows, 3 dim]`; of the source, queries
    /// `[tgt rows, dim]`.
    projected: Vec<T>,
    /// Keys and values of the source side by side, `[src rows, 2 dim]`; empty in self-attention.
    memory: Vec<T>,
    /// The heads' outputs, `[rows, dim]`.
    contexts: Vec<T>,
    attended: Attended<T>,
}

impl SelfAttention {
    fn dim(&self) -> usize {
        self.heads * self.head_dim
    }

    fn kernel(&self) -> MultiHead<'_> {
        MultiHead {
            heads: self.heads,
            head_dim: self.head_dim,
            query_offsets: &self.offsets,
            key_offsets: &self.offsets,
            visible: self.visible,
            dropout: self.dropout.as_ref(),
        }
    }

    /// Rotates queries and keys, the first two thirds of each row, by their position or back.
    fn rotate<T: Real>(&self, rows: &mut [T], direction: rotary::Direction) -> Result<()> {
        if !self.rotary {
            return Ok(());
        }
        let places: Vec<usize> =
            self.offsets.windows(2).flat_map(|ends| 0..ends[1] - ends[0]).collect();
        let rows = RowsMut::new(rows, 3 * self.dim());
        Ok(rotary::rotate(rows, 2 * self.heads, self.head_dim, &places, direction)?)
    }
}

impl<T: Real> Body<T> for SelfAttention {
    type Saved = Kept<T>;

    fn name(&self) -> &'static str {
        "self-attention sublayer"
    }

    fn forward(&self, x: &[T], inputs: &[&[T]]) -> Result<(Vec<T>, Kept<T>)> {
        let dim = self.dim();
        let mut projected = Affine::new(inputs[0], inputs[1], dim).forward(x); // [rows, 3 dim]
        self.rotate(&mut projected, rotary::Direction::Forward)?;
        let mut contexts = vec![T::ZERO; x.len()];
        let rows = |part: usize| Rows::columns(&projected, 3 * dim, part * dim);
        let attended = self.kernel().forward(rows(0), rows(1), rows(2), &mut contexts)?;
        let out = Affine::new(inputs[2], inputs[3], dim).forward(&contexts);
        Ok((out, Kept { projected, memory: Vec::new(), contexts, attended }))
    }

    fn backward(
        &self,
        x: &[T],
        inputs: &[&[T]],
        kept: Kept<T>,
        grad: &[T],
    ) -> Result<(Vec<T>, Vec<Vec<T>>)> {
        let dim = self.dim();
        let (first, last) =
            (Affine::new(inputs[0], inputs[1], dim), Affine::new(inputs[2], inputs[3], dim));
        let of_last = last.gradient(&kept.contexts, grad);
        let mut upstream = vec![T::ZERO; grad.len()];
        last.input_gradient(grad, &mut upstream, Target::Replace);
        let mut of_projected = vec![T::ZERO; kept.projected.len()];
        let rows = |part: usize| Rows::columns(&kept.projected, 3 * dim, part * dim);
        let into = Grads::Joint(&mut of_projected);
        let (out, attended) = (&kept.contexts, &kept.attended);
        self.kernel().backward(rows(0), rows(1), rows(2), out, attended, &upstream, into)?;
        self.rotate(&mut of_projected, rotary::Direction::Backward)?;
        let of_first = first.gradient(x, &of_projected);
        let mut grad_x = upstream; // its memory, for something else
        first.input_gradient(&of_projected, &mut grad_x, Target::Replace);
        let grads = vec![of_first.weight, of_first.bias, of_last.weight, of_last.bias];
        Ok((grad_x, grads))
    }
}

/// Heads that should look where links say.
#[derive(Clone, Debug)]
pub(super) struct GuidedHeads {
    pub(super) heads: Arc<[usize]>,
    /// The places of each target row.
    pub(super) rows: guide::Rows,
}

impl GuidedHeads {
    pub(super) fn view(&self) -> Guided<'_> {
        Guided { guide: self.rows.view(), heads: &self.heads }
    }
}

/// Attention of target words to source words.
pub(super) struct CrossAttention {
    pub(super) heads: usize,
    pub(super) head_dim: usize,
    /// Where target sentences start.
    pub(super) tgt_offsets: Arc<[usize]>,
    /// Where source sentences start.
    pub(super) src_offsets: Arc<[usize]>,
    /// Drops attention weights.
    pub(super) dropout: Option<Mask>,
    /// What some heads should look at. Their loss then stands behind the rows of the output.
    pub(super) guided: Option<GuidedHeads>,
}

impl CrossAttention {
    fn dim(&self) -> usize {
        self.heads * self.head_dim
    }

    fn kernel(&self) -> MultiHead<'_> {
        MultiHead {
            heads: self.heads,
            head_dim: self.head_dim,
            query_offsets: &self.tgt_offsets,
            key_offsets: &self.src_offsets,
            visible: Visible::ALL,
            dropout: self.dropout.as_ref(),
        }
    }

    fn layers<'a, T: Real>(&self, inputs: &[&'a [T]]) -> [Affine<'a, T>; 3] {
        [1, 3, 5].map(|i| Affine::new(inputs[i], inputs[i + 1], self.dim()))
    }
}

impl<T: Real> Body<T> for CrossAttention {
    type Saved = Kept<T>;

    fn name(&self) -> &'static str {
        "cross-attention sublayer"
    }

    fn forward(&self, x: &[T], inputs: &[&[T]]) -> Result<(Vec<T>, Kept<T>)> {
        let dim = self.dim();
        let [query, source, last] = self.layers(inputs);
        let projected = query.forward(x); // [tgt rows, dim]
        let memory = source.forward(inputs[0]); // [src rows, 2 dim]
        let mut contexts = vec![T::ZERO; x.len()];
        let attended = self.kernel().forward(
            Rows::new(&projected, dim),
            Rows::new(&memory, 2 * dim),
            Rows::columns(&memory, 2 * dim, dim),
            &mut contexts,
        )?;
        let mut out = last.forward(&contexts);
        if let Some(guided) = &self.guided {
            let (query, key) = (Rows::new(&projected, dim), Rows::new(&memory, 2 * dim));
            let loss = self.kernel().guided_loss(query, key, &attended, &guided.view())?;
            out.push(T::of(loss));
        }
        Ok((out, Kept { projected, memory, contexts, attended }))
    }

    fn backward(
        &self,
        x: &[T],
        inputs: &[&[T]],
        kept: Kept<T>,
        grad: &[T],
    ) -> Result<(Vec<T>, Vec<Vec<T>>)> {
        let dim = self.dim();
        let (grad, of_loss) = grad.split_at(x.len());
        let guided = self.guided.as_ref().map(GuidedHeads::view).zip(of_loss.first().copied());
        let [query, source, last] = self.layers(inputs);
        let of_last = last.gradient(&kept.contexts, grad);
        let mut upstream = vec![T::ZERO; grad.len()];
        last.input_gradient(grad, &mut upstream, Target::Replace);
        let mut of_query = vec![T::ZERO; kept.projected.len()];
        let mut of_memory = vec![T::ZERO; kept.memory.len()];
        let into = Grads::Apart { query: &mut of_query, memory: &mut of_memory };
        self.kernel().backward_guided(
            Rows::new(&kept.projected, dim),
            Rows::new(&kept.memory, 2 * dim),
            Rows::columns(&kept.memory, 2 * dim, dim),
            &kept.contexts,
            &kept.attended,
            &upstream,
            guided,
            into,
        )?;
        let query_grads = query.gradient(x, &of_query);
        let mut grad_x = upstream; // its memory, for something else
        query.input_gradient(&of_query, &mut grad_x, Target::Replace);
        let source_grads = source.gradient(inputs[0], &of_memory);
        let mut grad_source = vec![T::ZERO; inputs[0].len()];
        source.input_gradient(&of_memory, &mut grad_source, Target::Replace);
        let grads = vec![
            grad_source,
            query_grads.weight,
            query_grads.bias,
            source_grads.weight,
            source_grads.bias,
            of_last.weight,
            of_last.bias,
        ];
        Ok((grad_x, grads))
    }
}
