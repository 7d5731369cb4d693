//! The worker of one model on ONNX Runtime: pictures in, text or a mask out; or texts in, and what stands where out.

use super::marker::Marker;
use super::{contained, started};
use crate::words::{Head, Look, Seen, Started};
use pericard_confine::{Channel, Memory, Room};
use pericard_domain::device::Device;
use pericard_domain::image::ImagingOutput;
use pericard_domain::model::{Package, Task};
use pericard_imaging::{ImagingError, Model, Runtime};
use std::os::fd::OwnedFd;
use std::path::Path;

pub(super) struct Spectacles {
    sight: Sight,
    _runtime: Runtime,
}

/// What the model looks at.
enum Sight {
    Pictures(Box<Model>),
    Texts(Box<Marker>),
}

pub(super) fn load(
    (library, device): (&Path, Device),
    package: &Package,
    threads: usize,
    reports: Option<&str>,
) -> Result<(Spectacles, Started), String> {
    let runtime = Runtime::load(library, reports).map_err(|e| e.to_string())?;
    let runtime = runtime.on(device);
    // Golden cases also warm the engine up: what it opens or starts late, it opens and starts before it is locked in.
    let (sight, on) = match package.manifest.task {
        Task::TokenClassification => {
            let mut marker = Marker::load(&runtime, package, threads)?;
            for case in &package.manifest.golden {
                marker.golden(case, &package.dir)?;
            }
            let on = marker.device();
            (Sight::Texts(Box::new(marker)), on)
        }
        _ => {
            let model = pictures(&runtime, package, threads).map_err(|e| e.to_string())?;
            let on = model.device();
            (Sight::Pictures(Box::new(model)), on)
        }
    };
    let spectacles = Spectacles {
        sight,
        _runtime: runtime,
    };
    Ok((spectacles, started(&on.to_string(), None)))
}

fn pictures(runtime: &Runtime, package: &Package, threads: usize) -> Result<Model, ImagingError> {
    let mut model = Model::load(runtime, package, threads)?;
    for case in &package.manifest.golden {
        model.golden(case, &package.dir)?;
    }
    Ok(model)
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
        match (&mut self.sight, look) {
            (Sight::Pictures(model), Look::Picture(head)) => see(model, head, descriptors),
            (Sight::Texts(marker), Look::Text(text)) => marker
                .mark(&text)
                .map_or_else(|error| failed(&error), Seen::Entities),
            (Sight::Pictures(_), Look::Text(_)) => Seen::Unsuitable("it reads no texts".into()),
            (Sight::Texts(_), Look::Picture(_)) => {
                Seen::Unsuitable("it looks at no pictures".into())
            }
        }
    }
}

fn see(model: &mut Model, head: Head, descriptors: Vec<OwnedFd>) -> Seen {
    let mut descriptors = descriptors.into_iter();
    let (memory, room) = (descriptors.next(), descriptors.next());
    let input = memory
        .ok_or_else(|| "the picture has no memory".to_owned())
        .and_then(|memory| {
            let memory = Memory::received(memory).map_err(|e| e.to_string())?;
            let mapped = memory.map().map_err(|e| e.to_string())?;
            // The reader may have had more room than it needed.
            let bytes = head.bytes().filter(|bytes| *bytes <= memory.bytes());
            head.with(&mapped[..bytes.unwrap_or(0)])
        });
    let output = match input {
        Ok(input) => model.infer(&input),
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
