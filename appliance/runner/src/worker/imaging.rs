//! The worker of one imaging model: pictures in, text or a mask out.

use super::{contained, started};
use crate::words::{Look, Seen, Started};
use pericard_confine::{Channel, Memory, Room};
use pericard_domain::device::Device;
use pericard_domain::image::ImagingOutput;
use pericard_domain::model::Package;
use pericard_imaging::{ImagingError, Model, Runtime};
use std::os::fd::OwnedFd;
use std::path::Path;

pub(super) struct Spectacles {
    model: Model,
    _runtime: Runtime,
}

pub(super) fn load(
    (library, device): (&Path, Device),
    package: &Package,
    threads: usize,
    reports: Option<&str>,
) -> Result<(Spectacles, Started), String> {
    let load = || -> Result<_, ImagingError> {
        let runtime = Runtime::load(library, reports)?.on(device);
        let mut model = Model::load(&runtime, package, threads)?;
        // They also warm the engine up: what it opens or starts late, it opens and starts before it is locked in.
        for case in &package.manifest.golden {
            model.golden(case, &package.dir)?;
        }
        Ok((runtime, model))
    };
    let (runtime, model) = load().map_err(|e| e.to_string())?;
    let started = started(&model.device().to_string(), None);
    let spectacles = Spectacles {
        model,
        _runtime: runtime,
    };
    Ok((spectacles, started))
}

impl Spectacles {
    pub(super) fn work(mut self, channel: &Channel) {
        while let Ok((look, descriptors)) = channel.receive_with::<Look>() {
            let seen = contained(|| self.look(look, descriptors));
            let last = seen.is_err();
            let seen = seen.unwrap_or_else(Seen::Failed);
            if channel.send(&seen).is_err() || last {
                return;
            }
        }
    }

    fn look(&mut self, look: Look, descriptors: Vec<OwnedFd>) -> Seen {
        let mut descriptors = descriptors.into_iter();
        let (memory, room) = (descriptors.next(), descriptors.next());
        let input = memory
            .ok_or_else(|| "the picture has no memory".to_owned())
            .and_then(|memory| {
                let memory = Memory::received(memory).map_err(|e| e.to_string())?;
                let mapped = memory.map().map_err(|e| e.to_string())?;
                // The reader may have had more room than it needed.
                let bytes = look.0.bytes().filter(|bytes| *bytes <= memory.bytes());
                look.0.with(&mapped[..bytes.unwrap_or(0)])
            });
        let output = match input {
            Ok(input) => self.model.infer(&input),
            Err(why) => return Seen::Failed(why),
        };
        match output {
            Ok(ImagingOutput::Text(boxes)) => Seen::Text(boxes),
            Ok(ImagingOutput::Mask(mask)) => match fill(room, &mask.voxels) {
                Ok(()) => Seen::Mask,
                Err(why) => Seen::Failed(why),
            },
            Err(error @ (ImagingError::Input { .. } | ImagingError::TooLarge { .. })) => {
                Seen::Unsuitable(error.to_string())
            }
            Err(error) => failed(&error),
        }
    }
}

/// ONNX Runtime says by words alone that it got no memory.
fn failed(error: &ImagingError) -> Seen {
    let text = error.to_string();
    let signs = ["bad_alloc", "Failed to allocate", "bad allocation"];
    match signs.iter().any(|sign| text.contains(sign)) {
        true => Seen::OutOfMemory,
        false => Seen::Failed(text),
    }
}

/// The mapping ends here: the appliance takes the room only when nobody can write to it any more.
fn fill(room: Option<OwnedFd>, bytes: &[u8]) -> Result<(), String> {
    let room = room.ok_or("there is no room for the mask")?;
    let room = Room::received(room).map_err(|e| e.to_string())?;
    if room.bytes() != bytes.len() {
        return Err("the mask is not of the volume's size".into());
    }
    let mut mapped = room.map().map_err(|e| e.to_string())?;
    mapped[..bytes.len()].copy_from_slice(bytes);
    Ok(())
}
