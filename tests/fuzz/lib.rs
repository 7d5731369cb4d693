//! Nothing: the targets stand for themselves, and a package needs a library to have tests.
