//! From modality values to grey levels on a screen (PS3.3 section C.11.2).

use super::error::Fault;
use super::groups::{first_item, number, of_frame};
use super::table::Table;
use dicom_dictionary_std::tags;
use dicom_object::InMemDicomObject;
use pericard_domain::image::{GreyCurve, GreyWindow};

/// The brightest grey level.
const WHITE: f64 = 255.0;

/// Which of the three functions of section C.11.2.1.2 and C.11.2.1.3 a window has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Function {
    Linear,
    LinearExact,
    Sigmoid,
}

/// How one frame is shown.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Window {
    Values {
        center: f64,
        width: f64,
        function: Function,
    },
    Table(Table),
    /// From the least to the greatest value there is.
    Range {
        least: f64,
        greatest: f64,
    },
}

impl Window {
    /// What the object asks for: a table before a window, and the first of several. `frame` counts from 0.
    pub(crate) fn of(
        object: &InMemDicomObject,
        frame: u32,
        signed: bool,
    ) -> Result<Option<Self>, Fault> {
        if let Some(item) = first_item(object, tags::VOILUT_SEQUENCE) {
            let table = Table::of(item, tags::LUT_DESCRIPTOR, tags::LUT_DATA, signed)?;
            if let Some(table) = table {
                return Ok(Some(Self::Table(table)));
            }
        }
        let group = of_frame(object, frame, tags::FRAME_VOILUT_SEQUENCE);
        let function = group
            .get(tags::VOILUT_FUNCTION)
            .and_then(|e| e.to_str().ok())
            .map_or(Function::Linear, |name| match name.trim() {
                "SIGMOID" => Function::Sigmoid,
                "LINEAR_EXACT" => Function::LinearExact,
                _ => Function::Linear,
            });
        let center = number(group, tags::WINDOW_CENTER);
        let width = number(group, tags::WINDOW_WIDTH);
        Ok(match (center, width) {
            (Some(center), Some(width)) if width > 0.0 => Some(Self::Values {
                center,
                width,
                function,
            }),
            _ => None,
        })
    }

    /// What a person asks for, in a straight line, or with the function of the object's own window when it has one.
    pub(crate) fn wished(wished: GreyWindow, curve: GreyCurve, asked: Option<&Self>) -> Self {
        let function = match (curve, asked) {
            (GreyCurve::Linear, _) => Function::Linear,
            (GreyCurve::OfObject, Some(Self::Values { function, .. })) => *function,
            (GreyCurve::OfObject, _) => Function::LinearExact,
        };
        Self::Values {
            center: wished.center,
            width: wished.width,
            function,
        }
    }

    /// Its middle and its width, for a person to change; a table has none.
    pub(crate) fn in_numbers(&self) -> Option<GreyWindow> {
        let (center, width) = match self {
            Self::Table(_) => return None,
            Self::Values { center, width, .. } => (*center, *width),
            Self::Range { least, greatest } => (f64::midpoint(*least, *greatest), greatest - least),
        };
        (center.is_finite() && width > 0.0).then_some(GreyWindow { center, width })
    }

    /// Everything that `values` has, without those that are no measurement.
    pub(crate) fn range(values: impl Iterator<Item = f32>) -> Self {
        let (least, greatest) = values
            .filter(|v| v.is_finite())
            .fold((f32::INFINITY, f32::NEG_INFINITY), |(l, g), v| {
                (l.min(v), g.max(v))
            });
        Self::Range {
            least: f64::from(least),
            greatest: f64::from(greatest),
        }
    }

    /// Grey levels, 0 for black.
    pub(crate) fn apply(&self, values: &[f32]) -> Vec<u8> {
        let level = |value: f64| (value * WHITE + 0.5).clamp(0.0, WHITE) as u8;
        match self {
            Self::Table(table) => {
                let top = f64::from((1_u32 << table.bits) - 1);
                let entry = |v: &f32| f64::from(table.at(*v as i64)) / top;
                values.iter().map(|v| level(entry(v))).collect()
            }
            Self::Range { least, greatest } => {
                let width = greatest - least;
                let scale = if width > 0.0 { 1.0 / width } else { 0.0 };
                values
                    .iter()
                    .map(|v| level((f64::from(*v) - least) * scale))
                    .collect()
            }
            Self::Values {
                center,
                width,
                function,
            } => {
                let curve = curve(*center, *width, *function);
                values.iter().map(|v| level(curve(f64::from(*v)))).collect()
            }
        }
    }
}

/// The window as a function onto 0 to 1.
fn curve(center: f64, width: f64, function: Function) -> impl Fn(f64) -> f64 {
    move |x| match function {
        Function::Sigmoid => 1.0 / (1.0 + (-4.0 * (x - center) / width).exp()),
        Function::LinearExact => ((x - center) / width + 0.5).clamp(0.0, 1.0),
        // Half a unit off, because the standard counts the values that a window of that width has.
        Function::Linear if width > 1.0 => {
            ((x - (center - 0.5)) / (width - 1.0) + 0.5).clamp(0.0, 1.0)
        }
        Function::Linear => f64::from(u8::from(x > center - 0.5)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(center: f64, width: f64, function: Function) -> Window {
        Window::Values {
            center,
            width,
            function,
        }
    }

    #[test]
    fn a_wished_window_that_is_linear_is_so_whatever_the_objects_is() {
        let wished = GreyWindow {
            center: 40.0,
            width: 400.0,
        };
        let sigmoid = window(0.0, 1.0, Function::Sigmoid);
        for asked in [Some(&sigmoid), None] {
            let linear = Window::wished(wished, GreyCurve::Linear, asked);
            assert_eq!(linear, window(40.0, 400.0, Function::Linear));
        }
    }

    #[test]
    fn a_wished_window_keeps_the_objects_function_and_numbers_can_be_told() {
        let wished = GreyWindow {
            center: 40.0,
            width: 400.0,
        };
        let asked = window(0.0, 1.0, Function::Sigmoid);
        assert_eq!(
            Window::wished(wished, GreyCurve::OfObject, Some(&asked)),
            window(40.0, 400.0, Function::Sigmoid)
        );
        let exact = Window::wished(wished, GreyCurve::OfObject, None);
        assert_eq!(exact.apply(&[-160.0, 40.0, 240.0]), [0, 128, 255]);
        assert_eq!(exact.in_numbers(), Some(wished));
        let range = Window::range([-160.0, 240.0].into_iter());
        assert_eq!(range.in_numbers(), Some(wished));
        let flat = Window::range([7.0, 7.0].into_iter());
        assert_eq!(flat.in_numbers(), None, "nothing to choose from");
    }

    /// The examples of section C.11.2.1.2.1.
    #[test]
    fn as_the_standard_computes() {
        let linear = window(2048.0, 4096.0, Function::Linear);
        assert_eq!(
            linear.apply(&[0.0, 4095.0, 2047.5, -5.0, 9e9]),
            [0, 255, 128, 0, 255]
        );
        let one = window(2048.0, 1.0, Function::Linear);
        assert_eq!(one.apply(&[2047.0, 2047.5, 2048.0]), [0, 0, 255]);
        let exact = window(0.0, 100.0, Function::LinearExact);
        assert_eq!(exact.apply(&[-50.0, 0.0, 50.0]), [0, 128, 255]);
        let sigmoid = window(0.0, 100.0, Function::Sigmoid);
        assert_eq!(
            sigmoid.apply(&[-1000.0, 0.0, 25.0, 1000.0]),
            [0, 128, 186, 255]
        );
    }

    #[test]
    fn a_flat_frame_is_black_and_nothing_is_undefined() {
        assert_eq!(Window::range([7.0; 3].into_iter()).apply(&[7.0]), [0]);
        let nothing = Window::range([f32::NAN].into_iter());
        assert_eq!(nothing.apply(&[f32::NAN, 1.0]), [0, 0]);
    }
}
