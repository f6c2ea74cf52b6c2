//! The first weights: random, or those of a model that exists.

use candle_core::Device;
use model::Model;

use crate::{
    Error, Result,
    config::{Init, pattern},
    ema::set,
};

/// Gives `model` the weights of another one, all or some of them.
///
/// # Errors
/// [`Error::OtherTokenizer`] if that model was trained with other tokenizers than `model` is made
/// for; [`Error::Init`] with the parameter that the other model does not have, or has in another
/// shape, or has besides those of this one.
pub(crate) fn start_from(model: &Model, init: &Init) -> Result<()> {
    let from = Model::open(&init.dir, &Device::Cpu)?;
    let (own, new) = (from.vocabs(), model.vocabs());
    let sides = [
        (&own.src_fingerprint, &new.src_fingerprint),
        (&own.tgt_fingerprint, &new.tgt_fingerprint),
    ];
    if sides.iter().any(|(own, new)| !own.is_empty() && own != new) {
        return Err(Error::OtherTokenizer { dir: init.dir.clone(), init: init.dir.clone() });
    }
    let wrong = |name: &str, reason: String| Error::Init {
        dir: init.dir.clone(),
        name: name.into(),
        reason,
    };
    let chosen = |name: &str| init.only.is_empty() || pattern::any(&init.only, name);
    for (name, var) in model.parameters().iter().filter(|(name, _)| chosen(name)) {
        let found = from.parameters().find(name);
        let found = found.ok_or_else(|| wrong(name, "that model does not have it".into()))?;
        set(var, found).map_err(|reason| wrong(name, format!("there it {reason}")))?;
    }
    let unknown = |name: &&str| chosen(name) && model.parameters().find(name).is_none();
    match from.parameters().iter().map(|(name, _)| name).find(unknown) {
        Some(name) => Err(wrong(name, "the experiment's model does not have it".into())),
        None => Ok(()),
    }
}
