//! Where the bytes of a scan come from: the file itself, or what inflates out of it.

use super::error::ScanError;
use flate2::{Decompress, FlushDecompress, Status};
use std::io::{BufRead, BufReader, ErrorKind, Read, Seek, SeekFrom};

/// One read of the file. A header is a few KiB; more would only be read to be thrown away.
const BUFFER_BYTES: usize = 8 * 1024;

/// What can be read and sought: the one thing asked of a caller's file.
pub(crate) trait ReadSeek: Read + Seek {}
impl<T: Read + Seek + ?Sized> ReadSeek for T {}

/// A buffered, counted source that skips without reading where it can.
pub(crate) struct Source<'r> {
    feed: Feed<'r>,
    buffer: Box<[u8; BUFFER_BYTES]>,
    start: usize,
    end: usize,
    position: u64,
}

enum Feed<'r> {
    File {
        reader: &'r mut dyn ReadSeek,
        length: u64,
        /// Where the reader itself stands; skipping only moves [`Source::position`].
        at: u64,
    },
    Inflate {
        inflater: Inflater<'r>,
        /// Bytes that may still come out before it is a bomb.
        budget: u64,
        max: u64,
    },
}

impl<'r> Source<'r> {
    /// From the reader's beginning to its end.
    pub(crate) fn new(reader: &'r mut dyn ReadSeek) -> Result<Self, ScanError> {
        let length = reader.seek(SeekFrom::End(0))?;
        let feed = Feed::File {
            reader,
            length,
            at: length,
        };
        Ok(Self::over(feed))
    }

    /// What inflates (raw deflate, RFC 1951) out of everything from here on; positions start again at 0.
    pub(crate) fn inflated(self, max: u64) -> Result<Self, ScanError> {
        match self.feed {
            Feed::Inflate { .. } => Err(ScanError::Deflate),
            Feed::File { reader, .. } => {
                reader.seek(SeekFrom::Start(self.position))?;
                Ok(Self::over(Feed::Inflate {
                    inflater: Inflater::new(reader),
                    budget: max,
                    max,
                }))
            }
        }
    }

    fn over(feed: Feed<'r>) -> Self {
        Self {
            feed,
            buffer: Box::new([0; BUFFER_BYTES]),
            start: 0,
            end: 0,
            position: 0,
        }
    }

    /// Bytes consumed so far.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// Where the source ends, when that is known beforehand.
    pub(crate) fn end(&self) -> Option<u64> {
        match self.feed {
            Feed::File { length, .. } => Some(length),
            Feed::Inflate { .. } => None,
        }
    }

    /// The next bytes without consuming them; fewer than `count` only at the end. `count` is at most 16.
    pub(crate) fn peek(&mut self, count: usize) -> Result<&[u8], ScanError> {
        if self.end - self.start < count {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
            while self.end < count {
                let got = self.refill(self.end)?;
                if got == 0 {
                    break;
                }
                self.end += got;
            }
        }
        Ok(&self.buffer[self.start..self.end.min(self.start + count)])
    }

    /// Consumes bytes into `into`; how many there were, fewer than asked only at the end.
    pub(crate) fn read(&mut self, into: &mut [u8]) -> Result<usize, ScanError> {
        let mut done = 0;
        while done < into.len() {
            if self.start == self.end && !self.fill()? {
                break;
            }
            let count = (into.len() - done).min(self.end - self.start);
            into[done..done + count].copy_from_slice(&self.buffer[self.start..self.start + count]);
            self.consume(count);
            done += count;
        }
        Ok(done)
    }

    /// Consumes `count` bytes unseen; how many there were, fewer than asked only at the end.
    pub(crate) fn skip(&mut self, count: u64) -> Result<u64, ScanError> {
        let mut left = count;
        while left > 0 {
            let buffered = (self.end - self.start) as u64;
            if buffered > 0 {
                // At most what is buffered, so it fits.
                let step = left.min(buffered);
                self.consume(step as usize);
                left -= step;
            } else if let Feed::File { length, .. } = self.feed {
                let step = left.min(length.saturating_sub(self.position));
                self.position += step;
                return Ok(count - left + step);
            } else if !self.fill()? {
                break;
            }
        }
        Ok(count - left)
    }

    fn consume(&mut self, count: usize) {
        self.start += count;
        self.position += count as u64;
    }

    /// Fills the empty buffer; `false` at the end.
    fn fill(&mut self) -> Result<bool, ScanError> {
        self.start = 0;
        self.end = 0;
        self.end = self.refill(0)?;
        Ok(self.end > 0)
    }

    /// Reads behind the `held` buffered bytes; how many came.
    fn refill(&mut self, held: usize) -> Result<usize, ScanError> {
        let room = &mut self.buffer[held..];
        match &mut self.feed {
            Feed::File { reader, at, .. } => {
                let wanted = self.position + held as u64;
                if *at != wanted {
                    *at = reader.seek(SeekFrom::Start(wanted))?;
                }
                let got = loop {
                    match reader.read(room) {
                        Err(e) if e.kind() == ErrorKind::Interrupted => {}
                        other => break other?,
                    }
                };
                *at += got as u64;
                Ok(got)
            }
            Feed::Inflate {
                inflater,
                budget,
                max,
            } => {
                let got = inflater.read(room)?;
                *budget = budget
                    .checked_sub(got as u64)
                    .ok_or(ScanError::InflatedTooLarge { max: *max })?;
                Ok(got)
            }
        }
    }
}

/// A raw deflate stream. `flate2`'s own reader takes a stream that breaks off for one that ends; this one does not.
struct Inflater<'r> {
    input: BufReader<&'r mut dyn ReadSeek>,
    state: Decompress,
    ended: bool,
}

impl<'r> Inflater<'r> {
    fn new(reader: &'r mut dyn ReadSeek) -> Self {
        Self {
            input: BufReader::new(reader),
            state: Decompress::new(false),
            ended: false,
        }
    }

    fn read(&mut self, room: &mut [u8]) -> Result<usize, ScanError> {
        while !self.ended {
            let input = self.input.fill_buf()?;
            let (exhausted, taken, given) = (
                input.is_empty(),
                self.state.total_in(),
                self.state.total_out(),
            );
            let status = self
                .state
                .decompress(input, room, FlushDecompress::None)
                .map_err(|_| ScanError::Deflate)?;
            // Differences of one call, at most the lengths of the two slices.
            let taken = (self.state.total_in() - taken) as usize;
            let given = (self.state.total_out() - given) as usize;
            self.input.consume(taken);
            self.ended = status == Status::StreamEnd;
            if given > 0 {
                return Ok(given);
            }
            if !self.ended && (exhausted || taken == 0) {
                return Err(ScanError::Deflate);
            }
        }
        Ok(0)
    }
}
