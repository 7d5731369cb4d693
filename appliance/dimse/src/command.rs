//! Command sets (PS3.7 sections 6.3, 9.3 and 10.3): group 0000, always Implicit VR Little Endian.

use crate::status::Status;
use bytes::{Buf, BufMut, Bytes};
use std::collections::BTreeMap;

/// The longest command set that is read. The longest of the standard's, with every UID at its 64 characters, has 1 KiB.
pub(crate) const COMMAND_BYTES_MAX: usize = 16 * 1024;

/// Command Data Set Type (0000,0800) of a message without a data set.
const NO_DATA_SET: u16 = 0x0101;
/// Command Data Set Type of a message with one: any other value.
const WITH_DATA_SET: u16 = 0x0000;
/// The bit that makes a request's command field a response's.
pub(crate) const RESPONSE: u16 = 0x8000;

/// Command Field (0000,0100).
pub(crate) mod field {
    pub(crate) const C_STORE: u16 = 0x0001;
    pub(crate) const C_GET: u16 = 0x0010;
    pub(crate) const C_FIND: u16 = 0x0020;
    pub(crate) const C_MOVE: u16 = 0x0021;
    pub(crate) const N_EVENT_REPORT: u16 = 0x0100;
    pub(crate) const N_ACTION: u16 = 0x0130;
    pub(crate) const C_ECHO: u16 = 0x0030;
    pub(crate) const C_CANCEL: u16 = 0x0FFF;
}

/// Elements of group 0000.
pub(crate) mod tag {
    pub(crate) const AFFECTED_SOP_CLASS: u16 = 0x0002;
    pub(crate) const REQUESTED_SOP_CLASS: u16 = 0x0003;
    pub(crate) const COMMAND_FIELD: u16 = 0x0100;
    pub(crate) const MESSAGE_ID: u16 = 0x0110;
    pub(crate) const MESSAGE_ID_RESPONDED_TO: u16 = 0x0120;
    pub(crate) const MOVE_DESTINATION: u16 = 0x0600;
    pub(crate) const PRIORITY: u16 = 0x0700;
    pub(crate) const DATA_SET_TYPE: u16 = 0x0800;
    pub(crate) const STATUS: u16 = 0x0900;
    pub(crate) const ERROR_COMMENT: u16 = 0x0902;
    pub(crate) const AFFECTED_SOP_INSTANCE: u16 = 0x1000;
    pub(crate) const REQUESTED_SOP_INSTANCE: u16 = 0x1001;
    pub(crate) const EVENT_TYPE: u16 = 0x1002;
    pub(crate) const ACTION_TYPE: u16 = 0x1008;
    pub(crate) const REMAINING_SUB_OPERATIONS: u16 = 0x1020;
    pub(crate) const COMPLETED_SUB_OPERATIONS: u16 = 0x1021;
    pub(crate) const FAILED_SUB_OPERATIONS: u16 = 0x1022;
    pub(crate) const WARNING_SUB_OPERATIONS: u16 = 0x1023;
    pub(crate) const MOVE_ORIGINATOR: u16 = 0x1030;
    pub(crate) const MOVE_ORIGINATOR_MESSAGE_ID: u16 = 0x1031;
}

/// A command set is not one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the command set is malformed: {0}")]
pub(crate) struct Malformed(pub(crate) &'static str);

/// A command set: the values of its elements, padding removed only when they are asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct CommandSet {
    elements: BTreeMap<u16, Bytes>,
}

impl CommandSet {
    /// Reads a command set. Every value is a slice of `bytes`.
    pub(crate) fn parse(mut bytes: Bytes) -> Result<Self, Malformed> {
        let mut elements = BTreeMap::new();
        while bytes.has_remaining() {
            if bytes.remaining() < 8 {
                return Err(Malformed("an element is cut"));
            }
            let (group, element, length) =
                (bytes.get_u16_le(), bytes.get_u16_le(), bytes.get_u32_le());
            if group != 0 {
                return Err(Malformed("an element is not of group 0000"));
            }
            let length = usize::try_from(length).unwrap_or(usize::MAX);
            if length > bytes.remaining() {
                return Err(Malformed("a length claims more than there is"));
            }
            if elements.insert(element, bytes.split_to(length)).is_some() {
                return Err(Malformed("an element is doubled"));
            }
        }
        let set = Self { elements };
        set.number(tag::COMMAND_FIELD)
            .map(|_| set)
            .ok_or(Malformed("there is no command field"))
    }

    /// The command set's bytes, group length first.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let length: usize = self.elements.values().map(|v| 8 + v.len()).sum();
        let mut out = Vec::with_capacity(12 + length);
        let mut put = |element: u16, value: &[u8]| {
            out.put_u16_le(0);
            out.put_u16_le(element);
            out.put_u32_le(value.len() as u32); // values are short: made here, or checked when they were read
            out.put_slice(value);
        };
        put(0, &(length as u32).to_le_bytes());
        for (element, value) in &self.elements {
            put(*element, value);
        }
        out
    }

    /// A request. Whether a data set follows is said by `with_data_set`.
    pub(crate) fn request(field: u16, message_id: u16, with_data_set: bool) -> Self {
        let kind = if with_data_set {
            WITH_DATA_SET
        } else {
            NO_DATA_SET
        };
        Self::default()
            .with_number(tag::COMMAND_FIELD, field)
            .with_number(tag::MESSAGE_ID, message_id)
            .with_number(tag::DATA_SET_TYPE, kind)
    }

    /// The response to a request: its identifiers repeated, without a data set.
    pub(crate) fn response(request: &Self, status: &Status) -> Self {
        let mut response = Self::default()
            .with_number(tag::COMMAND_FIELD, request.field() | RESPONSE)
            .with_number(tag::MESSAGE_ID_RESPONDED_TO, request.message_id())
            .with_number(tag::DATA_SET_TYPE, NO_DATA_SET)
            .with_number(tag::STATUS, status.code);
        // What an N-ACTION requests, its response affects (PS3.7 section 10.1.4).
        for (asked, answered) in [
            (tag::REQUESTED_SOP_CLASS, tag::AFFECTED_SOP_CLASS),
            (tag::REQUESTED_SOP_INSTANCE, tag::AFFECTED_SOP_INSTANCE),
            (tag::AFFECTED_SOP_CLASS, tag::AFFECTED_SOP_CLASS),
            (tag::AFFECTED_SOP_INSTANCE, tag::AFFECTED_SOP_INSTANCE),
            (tag::ACTION_TYPE, tag::ACTION_TYPE),
            (tag::EVENT_TYPE, tag::EVENT_TYPE),
        ] {
            if let Some(value) = request.elements.get(&asked) {
                response.elements.insert(answered, value.clone());
            }
        }
        if status.comment.is_empty() {
            return response;
        }
        response.with_text(tag::ERROR_COMMENT, status.comment)
    }

    /// The same response, with a data set behind it.
    pub(crate) fn with_data_set(self) -> Self {
        self.with_number(tag::DATA_SET_TYPE, WITH_DATA_SET)
    }

    pub(crate) fn with_number(mut self, element: u16, value: u16) -> Self {
        let bytes = Bytes::copy_from_slice(&value.to_le_bytes());
        self.elements.insert(element, bytes);
        self
    }

    /// Without that element.
    pub(crate) fn without(mut self, element: u16) -> Self {
        self.elements.remove(&element);
        self
    }

    /// A UID, padded to an even length with a NUL (PS3.5 section 9.1).
    pub(crate) fn with_uid(self, element: u16, uid: &str) -> Self {
        self.with_padded(element, uid, b'\0')
    }

    /// A text, padded to an even length with a space.
    pub(crate) fn with_text(self, element: u16, text: &str) -> Self {
        self.with_padded(element, text, b' ')
    }

    fn with_padded(mut self, element: u16, text: &str, padding: u8) -> Self {
        let mut bytes = text.as_bytes().to_vec();
        if bytes.len() % 2 == 1 {
            bytes.push(padding);
        }
        self.elements.insert(element, bytes.into());
        self
    }

    /// A number (US); `None` when it is absent or not two bytes long.
    pub(crate) fn number(&self, element: u16) -> Option<u16> {
        let value: [u8; 2] = self.elements.get(&element)?[..].try_into().ok()?;
        Some(u16::from_le_bytes(value))
    }

    /// A text without its padding; `None` when it is absent or not ASCII.
    pub(crate) fn text(&self, element: u16) -> Option<&str> {
        let value = self.elements.get(&element)?;
        let text = std::str::from_utf8(value).ok().filter(|t| t.is_ascii())?;
        Some(text.trim_matches(['\0', ' ']))
    }

    /// Command Field; checked to be there when the set was read.
    pub(crate) fn field(&self) -> u16 {
        self.number(tag::COMMAND_FIELD).unwrap_or(0)
    }

    /// Message ID; devices that leave it out get 0 back.
    pub(crate) fn message_id(&self) -> u16 {
        self.number(tag::MESSAGE_ID).unwrap_or(0)
    }

    /// Whether a data set follows.
    pub(crate) fn has_data_set(&self) -> bool {
        self.number(tag::DATA_SET_TYPE)
            .is_some_and(|kind| kind != NO_DATA_SET)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let set = CommandSet::request(field::C_STORE, 7, true)
            .with_uid(tag::AFFECTED_SOP_CLASS, "1.2.840.10008.5.1.4.1.1.2")
            .with_text(tag::ERROR_COMMENT, "odd");
        let bytes = set.encode();
        assert_eq!(bytes.len() % 2, 0);
        let read = CommandSet::parse(bytes.clone().into()).unwrap();
        assert_eq!(
            (read.field(), read.message_id(), read.has_data_set()),
            (1, 7, true)
        );
        assert_eq!(
            read.text(tag::AFFECTED_SOP_CLASS),
            Some("1.2.840.10008.5.1.4.1.1.2")
        );
        assert_eq!(read.text(tag::ERROR_COMMENT), Some("odd"));
        let group_length = u32::from_le_bytes(bytes[8..12].try_into().unwrap());
        assert_eq!(group_length as usize, bytes.len() - 12);
    }

    #[test]
    fn malformed_sets() {
        let element = |group: u16, element: u16, length: u32, value: &[u8]| {
            let mut out = Vec::new();
            out.put_u16_le(group);
            out.put_u16_le(element);
            out.put_u32_le(length);
            out.put_slice(value);
            out
        };
        let field = element(0, 0x100, 2, &[1, 0]);
        for bad in [
            Vec::new(),
            vec![0; 7],
            element(8, 0x16, 2, b"1."),
            element(0, 2, u32::MAX, b"1.2"),
            element(0, 0x100, 1, &[1]),
            [field.clone(), field.clone()].concat(),
            [field, vec![0, 0, 0x10]].concat(),
        ] {
            assert!(CommandSet::parse(bad.clone().into()).is_err(), "{bad:?}");
        }
    }
}
