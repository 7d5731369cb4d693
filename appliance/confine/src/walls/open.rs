//! Where the kernel has none of these walls: a worker is a process of its own, and that is all.

use super::{Needs, WallError, Walls};
use std::io;

pub(super) fn close_inherited() -> io::Result<()> {
    Ok(())
}

pub(super) fn build(_: &Needs, walls: &mut Walls) -> Result<(), WallError> {
    let why = "this system is not Linux: workers are processes of their own and NOT confined";
    walls.is_missing("confinement", why);
    Ok(())
}

pub(super) fn lock(_: &Needs, _: &mut Walls) -> Result<(), WallError> {
    Ok(())
}
