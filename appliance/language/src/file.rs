//! A GGUF file: mapped, validated, its metadata read, its tensors at hand as bytes of the mapping.

use crate::error::LoadError;
use crate::header::{self, TensorPlace};
use crate::map;
use candle_core::quantized::GgmlDType;
use candle_core::quantized::gguf_file::{Content, Value};
use memmap2::Mmap;
use std::collections::HashMap;
use std::io::Cursor;
use std::path::Path;

/// A mapped model file whose header holds.
pub(crate) struct ModelFile {
    map: Mmap,
    metadata: HashMap<String, Value>,
    tensors: HashMap<String, TensorPlace>,
}

/// A tensor's bytes within the mapping.
pub(crate) struct TensorBytes<'a> {
    /// The fastest-running dimension first.
    pub(crate) dims: &'a [usize],
    pub(crate) dtype: GgmlDType,
    pub(crate) bytes: &'a [u8],
}

impl ModelFile {
    pub(crate) fn open(path: &Path) -> Result<Self, LoadError> {
        let map = map::read_only(path).map_err(|source| LoadError::Read {
            path: path.to_owned(),
            source,
        })?;
        let places = header::walk(&map)?;
        // Only now, with every length proven, does the library's reader see the file.
        let content = Content::read(&mut Cursor::new(&map[..]))
            .map_err(|error| LoadError::Metadata(error.to_string()))?;
        Ok(Self {
            map,
            metadata: content.metadata,
            tensors: places
                .into_iter()
                .map(|place| (place.name.clone(), place))
                .collect(),
        })
    }

    /// The size of the file, bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.map.len()
    }

    /// The number of weights in all tensors.
    pub(crate) fn parameters(&self) -> u64 {
        self.tensors
            .values()
            .map(|place| place.dims.iter().map(|dim| *dim as u64).product::<u64>())
            .sum()
    }

    pub(crate) fn tensor(&self, name: &str) -> Option<TensorBytes<'_>> {
        let place = self.tensors.get(name)?;
        Some(TensorBytes {
            dims: &place.dims,
            dtype: place.dtype,
            bytes: &self.map[place.start..place.end],
        })
    }

    /// A tensor was read: its part of the mapping need not stay in memory.
    pub(crate) fn forget(&self, name: &str) {
        if let Some(place) = self.tensors.get(name) {
            map::forget(&self.map, place.start, place.end - place.start);
        }
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.metadata.contains_key(key)
    }

    pub(crate) fn u32(&self, key: &str) -> Result<u32, LoadError> {
        self.integer(key)
            .and_then(|value| u32::try_from(value).ok())
            .ok_or_else(|| LoadError::Metadata(key.to_owned()))
    }

    pub(crate) fn f32(&self, key: &str) -> Result<f32, LoadError> {
        match self.metadata.get(key) {
            Some(Value::F32(value)) => Ok(*value),
            Some(Value::F64(value)) => Ok(*value as f32),
            _ => Err(LoadError::Metadata(key.to_owned())),
        }
    }

    pub(crate) fn flag(&self, key: &str) -> Option<bool> {
        match self.metadata.get(key) {
            Some(Value::Bool(value)) => Some(*value),
            _ => None,
        }
    }

    pub(crate) fn text(&self, key: &str) -> Result<&str, LoadError> {
        match self.metadata.get(key) {
            Some(Value::String(value)) => Ok(value),
            _ => Err(LoadError::Metadata(key.to_owned())),
        }
    }

    pub(crate) fn texts(&self, key: &str) -> Result<Vec<&str>, LoadError> {
        let wrong = || LoadError::Metadata(key.to_owned());
        let Some(Value::Array(values)) = self.metadata.get(key) else {
            return Err(wrong());
        };
        let texts = values.iter().map(|value| match value {
            Value::String(text) => Ok(text.as_str()),
            _ => Err(wrong()),
        });
        texts.collect()
    }

    pub(crate) fn integers(&self, key: &str) -> Option<Vec<i64>> {
        match self.metadata.get(key) {
            Some(Value::Array(values)) => values.iter().map(as_integer).collect(),
            _ => None,
        }
    }

    pub(crate) fn floats(&self, key: &str) -> Option<Vec<f32>> {
        let Some(Value::Array(values)) = self.metadata.get(key) else {
            return None;
        };
        let float = |value: &Value| match value {
            Value::F32(value) => Some(*value),
            _ => None,
        };
        values.iter().map(float).collect()
    }

    fn integer(&self, key: &str) -> Option<i64> {
        self.metadata.get(key).and_then(as_integer)
    }
}

fn as_integer(value: &Value) -> Option<i64> {
    Some(match value {
        Value::U8(value) => i64::from(*value),
        Value::I8(value) => i64::from(*value),
        Value::U16(value) => i64::from(*value),
        Value::I16(value) => i64::from(*value),
        Value::U32(value) => i64::from(*value),
        Value::I32(value) => i64::from(*value),
        Value::I64(value) => *value,
        Value::U64(value) => i64::try_from(*value).ok()?,
        _ => return None,
    })
}
