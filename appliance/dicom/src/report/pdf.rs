//! A small writer of PDF 1.4 (ISO 32000-1): pages of left-aligned lines in Helvetica, which every reader has.

/// A4, points.
const PAGE_POINTS: [u32; 2] = [595, 842];
const MARGIN_POINTS: u32 = 56;
/// Characters of a line at the ordinary size: Helvetica's average letter is about half as wide as it is high.
const LINE_CHARS_MAX: usize = 92;
/// Line height as a share of the letters' size, percent.
const LEADING_PERCENT: u32 = 140;

/// How a line is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// The page's title.
    Title,
    /// What must not be overlooked.
    Mark,
    /// A heading.
    Heading,
    /// Ordinary words.
    Plain,
}

impl Style {
    const fn points(self) -> u32 {
        match self {
            Self::Title => 18,
            Self::Mark | Self::Heading => 12,
            Self::Plain => 10,
        }
    }

    const fn is_bold(self) -> bool {
        !matches!(self, Self::Plain)
    }

    const fn color(self) -> &'static str {
        match self {
            Self::Mark => "0.75 0.05 0.05 rg",
            _ => "0 0 0 rg",
        }
    }
}

/// The file. Characters beyond Windows-1252 are written as question marks; the object around it holds them all.
pub(super) fn written(title: &str, lines: &[(Style, String)]) -> Vec<u8> {
    let pages = paged(lines);
    // 1 catalogue, 2 pages, 3 and 4 fonts, 5 information; then a page and its content for each.
    let kids: Vec<String> = (0..pages.len())
        .map(|page| format!("{} 0 R", 6 + 2 * page))
        .collect();
    let [width, height] = PAGE_POINTS;
    let font = |name: &str| {
        format!("<< /Type /Font /Subtype /Type1 /BaseFont /{name} /Encoding /WinAnsiEncoding >>")
            .into_bytes()
    };
    let mut objects: Vec<Vec<u8>> = vec![
        b"<< /Type /Catalog /Pages 2 0 R >>".to_vec(),
        format!(
            "<< /Type /Pages /Kids [{}] /Count {} >>",
            kids.join(" "),
            pages.len()
        )
        .into_bytes(),
        font("Helvetica"),
        font("Helvetica-Bold"),
        [
            b"<< /Producer (Pericard) /Title (".to_vec(),
            escaped(title),
            b") >>".to_vec(),
        ]
        .concat(),
    ];
    for (page, content) in pages.into_iter().enumerate() {
        objects.push(
            format!(
                "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 {width} {height}] \
                 /Resources << /Font << /F1 3 0 R /F2 4 0 R >> >> /Contents {} 0 R >>",
                7 + 2 * page
            )
            .into_bytes(),
        );
        let head = format!("<< /Length {} >>\nstream\n", content.len()).into_bytes();
        objects.push([head, content, b"\nendstream".to_vec()].concat());
    }
    assembled(&objects)
}

/// Objects, the table of where they are, and the trailer.
fn assembled(objects: &[Vec<u8>]) -> Vec<u8> {
    let mut file = b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n".to_vec();
    let mut places = Vec::new();
    for (number, object) in (1..).zip(objects) {
        places.push(file.len());
        let number: usize = number;
        file.extend_from_slice(format!("{number} 0 obj\n").as_bytes());
        file.extend_from_slice(object);
        file.extend_from_slice(b"\nendobj\n");
    }
    let table = file.len();
    let size = objects.len() + 1;
    file.extend_from_slice(format!("xref\n0 {size}\n0000000000 65535 f \n").as_bytes());
    for place in places {
        file.extend_from_slice(format!("{place:010} 00000 n \n").as_bytes());
    }
    let trailer =
        format!("trailer\n<< /Size {size} /Root 1 0 R /Info 5 0 R >>\nstartxref\n{table}\n%%EOF\n");
    file.extend_from_slice(trailer.as_bytes());
    file
}

/// The content of each page.
fn paged(lines: &[(Style, String)]) -> Vec<Vec<u8>> {
    let (left, mut y) = (MARGIN_POINTS, PAGE_POINTS[1] - MARGIN_POINTS);
    let (mut pages, mut page) = (Vec::new(), Vec::new());
    for (style, words) in lines {
        for line in broken(words, LINE_CHARS_MAX * 10 / style.points() as usize) {
            let step = style.points() * LEADING_PERCENT / 100;
            if y < MARGIN_POINTS + step {
                pages.push(std::mem::take(&mut page));
                y = PAGE_POINTS[1] - MARGIN_POINTS;
            }
            y -= step;
            let font = if style.is_bold() { "F2" } else { "F1" };
            let (size, color) = (style.points(), style.color());
            let set = format!("BT /{font} {size} Tf {color} {left} {y} Td (");
            page.extend_from_slice(set.as_bytes());
            page.extend_from_slice(&escaped(&line));
            page.extend_from_slice(b") Tj ET\n");
        }
    }
    pages.push(page);
    pages
}

/// A text in lines of at most `chars`, broken between words where there are any.
fn broken(text: &str, chars: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let words = text.split(' ').flat_map(|word| pieces(word, chars));
    for word in words {
        let line = lines.last().map_or(0, |line| line.chars().count());
        if line > 0 && line + 1 + word.chars().count() > chars {
            lines.push(word);
            continue;
        }
        if let Some(last) = lines.last_mut() {
            if line > 0 {
                last.push(' ');
            }
            last.push_str(&word);
        }
    }
    lines
}

fn pieces(word: &str, chars: usize) -> Vec<String> {
    let letters: Vec<char> = word.chars().collect();
    if letters.is_empty() {
        return vec![String::new()];
    }
    let pieces = letters.chunks(chars.max(1));
    pieces.map(|piece| piece.iter().collect()).collect()
}

/// The bytes of a literal string in Windows-1252.
fn escaped(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    for letter in text.chars() {
        let byte = match u32::from(letter) {
            code @ (0x20..=0x7e | 0xa0..=0xff) => code as u8,
            _ => b'?',
        };
        if matches!(byte, b'(' | b')' | b'\\') {
            bytes.push(b'\\');
        }
        bytes.push(byte);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_broken_between_words() {
        assert_eq!(broken("one two three", 7), ["one two", "three"]);
        assert_eq!(broken("abcdefgh", 3), ["abc", "def", "gh"]);
        assert_eq!(broken("", 3), [""]);
    }

    #[test]
    fn what_would_end_a_string_does_not() {
        assert_eq!(escaped("a(b)\\ é 心\n"), b"a\\(b\\)\\\\ \xe9 ??");
    }
}
