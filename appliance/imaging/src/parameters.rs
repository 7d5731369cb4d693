//! The numbers that a manifest sets a pipeline with: each is named, in range, and known.

use crate::ImagingError;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;

/// The parameters of a manifest, taken one by one.
pub(crate) struct Parameters(BTreeMap<String, f64>);

impl Parameters {
    pub(crate) fn new(parameters: &BTreeMap<String, f64>) -> Self {
        Self(parameters.clone())
    }

    /// Takes a number.
    pub(crate) fn number(
        &mut self,
        name: &str,
        range: RangeInclusive<f64>,
    ) -> Result<f64, ImagingError> {
        let refused = |reason: String| ImagingError::Parameter {
            name: name.to_owned(),
            reason,
        };
        let value = self
            .0
            .remove(name)
            .ok_or_else(|| refused("is missing".into()))?;
        if range.contains(&value) {
            return Ok(value);
        }
        Err(refused(format!(
            "is {value}, outside {} to {}",
            range.start(),
            range.end()
        )))
    }

    /// Takes a whole number.
    pub(crate) fn count(
        &mut self,
        name: &str,
        range: RangeInclusive<u32>,
    ) -> Result<usize, ImagingError> {
        let value = self.number(name, f64::from(*range.start())..=f64::from(*range.end()))?;
        if value.fract() != 0.0 {
            let reason = format!("is {value}, not a whole number");
            return Err(ImagingError::Parameter {
                name: name.to_owned(),
                reason,
            });
        }
        // In range and whole, as checked above.
        Ok(value as usize)
    }

    /// Takes a switch: 0 is off, 1 is on.
    pub(crate) fn switch(&mut self, name: &str) -> Result<bool, ImagingError> {
        self.count(name, 0..=1).map(|value| value == 1)
    }

    /// Refuses what nobody took: a misspelt name would otherwise be a silent default.
    pub(crate) fn finish(self) -> Result<(), ImagingError> {
        match self.0.into_keys().next() {
            None => Ok(()),
            Some(name) => Err(ImagingError::Parameter {
                name,
                reason: "is not one that this pipeline knows".into(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_unknown_and_out_of_range() {
        let given = BTreeMap::from([
            ("a".to_owned(), 2.5),
            ("b".to_owned(), 3.0),
            ("c".to_owned(), 1.0),
        ]);
        let mut parameters = Parameters::new(&given);
        assert_eq!(parameters.count("b", 1..=3).unwrap(), 3);
        for said in [
            parameters.count("a", 1..=3).unwrap_err(),
            parameters.number("z", 0.0..=1.0).unwrap_err(),
            Parameters::new(&given).number("a", 0.0..=1.0).unwrap_err(),
            parameters.finish().unwrap_err(),
        ] {
            assert!(matches!(said, ImagingError::Parameter { .. }), "{said}");
        }
    }
}
