//! What is inside an ONNX file, read before ONNX Runtime sees it.
//!
//! An ONNX file is a protobuf (`onnx.proto`, IR version 3 and later). Only the fields that decide whether it may be
//! loaded are walked; everything else is skipped by its length. Nothing is allocated from a length that the file claims.

/// The operator domains that a model may use. The empty name is `ai.onnx`.
pub const OPERATOR_DOMAINS: [&str; 4] = ["", "ai.onnx", "ai.onnx.ml", "com.microsoft"];

/// Operators of allowed domains that load files or run foreign code.
const REFUSED_OPERATORS: [&str; 2] = ["EPContext", "PyOp"];

/// How deep graphs may lie in graphs (bodies of If, Loop and Scan).
const GRAPH_DEPTH_MAX: usize = 16;

/// Says why a file must not be loaded: not an ONNX model, data outside the file, foreign operators.
pub(crate) fn inspect(bytes: &[u8]) -> Result<(), String> {
    let mut has_graph = false;
    for field in Fields(bytes) {
        match field? {
            (7, Value::Bytes(graph)) => {
                has_graph = true;
                inspect_graph(graph, 0)?;
            }
            (8, Value::Bytes(import)) => inspect_domain(text_of(import, 1)?)?,
            (25, Value::Bytes(function)) => inspect_function(function)?,
            _ => {}
        }
    }
    if has_graph {
        Ok(())
    } else {
        Err("it holds no ONNX graph".into())
    }
}

fn inspect_function(bytes: &[u8]) -> Result<(), String> {
    for field in Fields(bytes) {
        match field? {
            (7, Value::Bytes(node)) => inspect_node(node, 0)?,
            (9, Value::Bytes(import)) => inspect_domain(text_of(import, 1)?)?,
            _ => {}
        }
    }
    inspect_domain(text_of(bytes, 10)?)
}

fn inspect_graph(bytes: &[u8], depth: usize) -> Result<(), String> {
    if depth > GRAPH_DEPTH_MAX {
        return Err(format!("its graphs lie more than {GRAPH_DEPTH_MAX} deep"));
    }
    for field in Fields(bytes) {
        match field? {
            (1, Value::Bytes(node)) => inspect_node(node, depth)?,
            (5, Value::Bytes(tensor)) => inspect_tensor(tensor)?,
            (15, Value::Bytes(sparse)) => inspect_sparse(sparse)?,
            _ => {}
        }
    }
    Ok(())
}

fn inspect_node(bytes: &[u8], depth: usize) -> Result<(), String> {
    let operator = text_of(bytes, 4)?;
    if REFUSED_OPERATORS.contains(&operator) {
        return Err(format!(
            "it uses the operator {operator}, which loads or runs something outside the file"
        ));
    }
    inspect_domain(text_of(bytes, 7)?)?;
    for field in Fields(bytes) {
        if let (5, Value::Bytes(attribute)) = field? {
            inspect_attribute(attribute, depth)?;
        }
    }
    Ok(())
}

fn inspect_attribute(bytes: &[u8], depth: usize) -> Result<(), String> {
    for field in Fields(bytes) {
        match field? {
            (5 | 10, Value::Bytes(tensor)) => inspect_tensor(tensor)?,
            (6 | 11, Value::Bytes(graph)) => inspect_graph(graph, depth + 1)?,
            (22 | 23, Value::Bytes(sparse)) => inspect_sparse(sparse)?,
            _ => {}
        }
    }
    Ok(())
}

fn inspect_sparse(bytes: &[u8]) -> Result<(), String> {
    for field in Fields(bytes) {
        if let (1 | 2, Value::Bytes(tensor)) = field? {
            inspect_tensor(tensor)?;
        }
    }
    Ok(())
}

fn inspect_tensor(bytes: &[u8]) -> Result<(), String> {
    for field in Fields(bytes) {
        // external_data, or data_location = EXTERNAL.
        if matches!(field?, (13, _) | (14, Value::Number(1))) {
            return Err("it keeps weights in another file; convert it to a single file".into());
        }
    }
    Ok(())
}

fn inspect_domain(domain: &str) -> Result<(), String> {
    if OPERATOR_DOMAINS.contains(&domain) {
        return Ok(());
    }
    let shown: String = domain.chars().take(60).collect();
    Err(format!(
        "it needs operators of the domain {shown:?}; allowed are {OPERATOR_DOMAINS:?}"
    ))
}

/// The text in field `number` (the last, as protobuf says), or the empty text.
fn text_of(bytes: &[u8], number: u64) -> Result<&str, String> {
    let mut found: &[u8] = b"";
    for field in Fields(bytes) {
        match field? {
            (n, Value::Bytes(text)) if n == number => found = text,
            _ => {}
        }
    }
    std::str::from_utf8(found).map_err(|_| "it holds a name that is not UTF-8".into())
}

enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    Skipped,
}

/// The fields of one protobuf message, in order.
struct Fields<'a>(&'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Value<'a>), String>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self
            .field()
            .ok_or_else(|| "it is not an ONNX file, or it is cut short".to_owned());
        if field.is_err() {
            self.0 = &[];
        }
        Some(field)
    }
}

impl<'a> Fields<'a> {
    fn field(&mut self) -> Option<(u64, Value<'a>)> {
        let key = self.varint()?;
        let value = match key & 7 {
            0 => Value::Number(self.varint()?),
            1 => self.take(8).map(|_| Value::Skipped)?,
            2 => {
                let length = usize::try_from(self.varint()?).ok()?;
                Value::Bytes(self.take(length)?)
            }
            5 => self.take(4).map(|_| Value::Skipped)?,
            _ => return None,
        };
        Some((key >> 3, value))
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = *self.take(1)?.first()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(length)?;
        self.0 = tail;
        Some(head)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One length-delimited field.
    fn field(number: u8, content: &[u8]) -> Vec<u8> {
        let mut bytes = vec![number << 3 | 2, u8::try_from(content.len()).unwrap()];
        bytes.extend_from_slice(content);
        bytes
    }

    #[test]
    fn what_may_be_loaded() {
        let relu = field(4, b"Relu");
        assert_eq!(inspect(&field(7, &field(1, &relu))), Ok(()));
        let foreign = [relu.clone(), field(7, b"org.example")].concat();
        let external = field(5, &[14 << 3, 1]);
        let nested = field(1, &[relu, field(5, &field(6, &external))].concat());
        let context = field(
            1,
            &[field(4, b"EPContext"), field(7, b"com.microsoft")].concat(),
        );
        for (model, why) in [
            (Vec::new(), "no ONNX graph"),
            (b"\x80\x04\x95pickle".to_vec(), "not an ONNX file"),
            (field(7, &field(1, &foreign)), "org.example"),
            (field(7, &external), "another file"),
            (field(7, &nested), "another file"),
            (field(7, &context), "EPContext"),
            (vec![7 << 3 | 2, 0xff, 0xff, 0xff, 0xff, 0x0f], "cut short"),
        ] {
            let said = inspect(&model).unwrap_err();
            assert!(said.contains(why), "{said} / {why}");
        }
    }

    #[test]
    fn graphs_without_end_are_refused() {
        let mut graph = Vec::new();
        for _ in 0..GRAPH_DEPTH_MAX + 2 {
            graph = field(1, &field(5, &field(6, &graph)));
        }
        assert!(inspect(&field(7, &graph)).unwrap_err().contains("deep"));
    }
}
