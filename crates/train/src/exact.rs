//! Numbers in JSON that come back with the same bits.
//!
//! JSON has no infinity, and its readers may be off in the last place. What a resumed run
//! depends on is therefore written as a string: the shortest decimal that stands for the number.

use serde::{Deserialize, Deserializer, Serializer, de::Error};

pub(crate) fn serialize<S: Serializer>(number: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{number:?}"))
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(|_| D::Error::custom(format!("expected a number, found `{text}`")))
}

/// The same for a number that may be absent.
pub(crate) mod option {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    struct Exact(#[serde(with = "super")] f64);

    pub(crate) fn serialize<S: Serializer>(
        number: &Option<f64>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        number.map(Exact).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<f64>, D::Error> {
        Ok(Option::<Exact>::deserialize(deserializer)?.map(|exact| exact.0))
    }
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};

    #[derive(Serialize, Deserialize)]
    struct Numbers {
        #[serde(with = "super")]
        one: f64,
        #[serde(with = "super::option")]
        other: Option<f64>,
    }

    #[test]
    fn numbers_come_back_with_the_same_bits() {
        for one in [0.1 + 0.2, -0.0, 5e-324, f64::MAX, f64::NEG_INFINITY, 1.0 / 3.0] {
            let json = serde_json::to_string(&Numbers { one, other: Some(one) }).unwrap();
            let back: Numbers = serde_json::from_str(&json).unwrap();
            assert_eq!(back.one.to_bits(), one.to_bits(), "{json}");
            assert_eq!(back.other.map(f64::to_bits), Some(one.to_bits()), "{json}");
        }
        let json = serde_json::to_string(&Numbers { one: f64::NAN, other: None }).unwrap();
        let back: Numbers = serde_json::from_str(&json).unwrap();
        assert!(back.one.is_nan() && back.other.is_none());
        assert!(serde_json::from_str::<Numbers>(r#"{"one": "x", "other": null}"#).is_err());
    }
}
