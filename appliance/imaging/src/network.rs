//! One ONNX network: one `f32` tensor in, one `f32` tensor out.

use crate::{ImagingError, MODEL_FILE_BYTES_MAX, Runtime, onnx};
use ort::ep;
use ort::session::Session;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use ort::value::{TensorElementType, TensorRef, ValueType};
use pericard_domain::device::Device;
use std::io::Read;
use std::path::Path;

/// A loaded network that plays one part of a package.
pub(crate) struct Network {
    part: &'static str,
    session: Session,
    input: String,
    output: String,
}

/// Values with their shape, the last axis running fastest.
pub(crate) struct Tensor {
    pub(crate) shape: Vec<usize>,
    pub(crate) values: Vec<f32>,
}

impl Network {
    /// Loads the network in `path`. The bytes that are inspected are the bytes that are loaded.
    pub(crate) fn load(
        runtime: &Runtime,
        part: &'static str,
        path: &Path,
        threads: usize,
    ) -> Result<Self, ImagingError> {
        let session = open(runtime, part, path, threads)?;
        let unfit = |reason: String| ImagingError::Unfit { part, reason };
        let [input] = session.inputs() else {
            return Err(unfit(format!(
                "it has {} inputs, not 1",
                session.inputs().len()
            )));
        };
        let [output] = session.outputs() else {
            return Err(unfit(format!(
                "it has {} outputs, not 1",
                session.outputs().len()
            )));
        };
        for (name, kind) in [("input", input.dtype()), ("output", output.dtype())] {
            if !matches!(
                kind,
                ValueType::Tensor {
                    ty: TensorElementType::Float32,
                    ..
                }
            ) {
                return Err(unfit(format!(
                    "its {name} is not a tensor of 32-bit floats"
                )));
            }
        }
        let (input, output) = (input.name().to_owned(), output.name().to_owned());
        Ok(Self {
            part,
            session,
            input,
            output,
        })
    }

    /// Runs the network on `values` in the shape `shape`.
    pub(crate) fn run(&mut self, shape: &[usize], values: &[f32]) -> Result<Tensor, ImagingError> {
        let part = self.part;
        let failed = |e: ort::Error| ImagingError::Engine {
            doing: "run",
            part,
            reason: e.to_string(),
        };
        let input = TensorRef::from_array_view((shape, values)).map_err(failed)?;
        let outputs = self
            .session
            .run(ort::inputs![self.input.as_str() => input])
            .map_err(failed)?;
        let unfit = |reason: String| ImagingError::Unfit { part, reason };
        let output = outputs
            .get(&self.output)
            .ok_or_else(|| unfit("it gave no output".into()))?;
        let (shape, values) = output.try_extract_tensor::<f32>().map_err(failed)?;
        let shape = shape
            .iter()
            .map(|n| usize::try_from(*n).unwrap_or(0))
            .collect();
        Ok(Tensor {
            shape,
            values: values.to_vec(),
        })
    }

    /// A text of the model's own metadata.
    pub(crate) fn metadata(&self, key: &str) -> Option<String> {
        self.session.metadata().ok()?.custom(key)
    }
}

/// A session on the network in `path`, once its bytes were found to be such as may be loaded.
pub(crate) fn open(
    runtime: &Runtime,
    part: &'static str,
    path: &Path,
    threads: usize,
) -> Result<Session, ImagingError> {
    let bytes = read(path)?;
    onnx::inspect(&bytes).map_err(|reason| ImagingError::Refused {
        path: path.to_owned(),
        reason,
    })?;
    session(runtime, &bytes, threads).map_err(|reason| ImagingError::Engine {
        doing: "load",
        part,
        reason,
    })
}

pub(crate) fn read(path: &Path) -> Result<Vec<u8>, ImagingError> {
    let failed = |source| ImagingError::Read {
        path: path.to_owned(),
        source,
    };
    let file = std::fs::File::open(path).map_err(failed)?;
    let mut bytes = Vec::new();
    file.take(MODEL_FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() as u64 > MODEL_FILE_BYTES_MAX {
        let reason = format!("it has more than {MODEL_FILE_BYTES_MAX} bytes");
        return Err(ImagingError::Refused {
            path: path.to_owned(),
            reason,
        });
    }
    Ok(bytes)
}

fn session(runtime: &Runtime, bytes: &[u8], threads: usize) -> Result<Session, String> {
    let options = || -> Result<SessionBuilder, ort::Error> {
        let builder = Session::builder(runtime.environment())?
            .with_optimization_level(GraphOptimizationLevel::All)?
            .with_intra_threads(threads.max(1))?
            .with_inter_threads(1)?
            // A pool that spins holds its cores while it has nothing to do; the language engine shares them.
            .with_intra_op_spinning(false)?
            .with_inter_op_spinning(false)?
            .with_deterministic_compute(true)?
            // Shapes differ from call to call: planning memory for each of them would keep all the plans.
            .with_memory_pattern(false)?;
        match runtime.device() {
            Device::Cpu => Ok(builder),
            // Without this word a library that cannot have the device takes the processor, and tells nobody.
            Device::Cuda(number) => Ok(builder.with_execution_providers([ep::CUDA::default()
                .with_device_id(number.into())
                .build()
                .error_on_failure()])?),
            Device::Metal => Err(ort::Error::new(
                "imaging models cannot compute on Metal; set `device = \"cpu\"`",
            )),
        }
    };
    options()
        .and_then(|mut builder| builder.commit_from_memory(bytes))
        .map_err(|e| e.to_string())
}
