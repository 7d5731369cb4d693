//! Bytes that somebody brought, number by number.

use maud::{Markup, html};
use pericard_frame::layout::reply as field;
use pericard_frame::page::{Form, Line, Page};
use pericard_frame::{Counter, Fault, Frame, Reply, layout};

/// What they are.
pub(super) enum Found {
    Frame(Frame),
    Reply(Reply),
    /// Neither, and why it is no frame.
    Neither(Fault),
}

pub(super) fn found(bytes: &[u8]) -> Found {
    match (Frame::open(bytes), Reply::open(bytes)) {
        (Ok(frame), _) => Found::Frame(frame),
        (_, Ok(reply)) => Found::Reply(reply),
        (Err(fault), _) => Found::Neither(fault),
    }
}

pub(super) fn decoded(found: &Found) -> Markup {
    html! { @match found {
        Found::Frame(frame) => {
            p { "A frame of appliance " (frame.get(&layout::APPLIANCE, 0)) ", its number " (frame.get(&layout::SEQUENCE, 0)) ". \
                These are all its numbers that are not zero; every other byte of it is." }
            (numbers(frame))
        },
        Found::Reply(reply) => {
            p { "A reply of the hub: " (reply.status().meaning()) ", with "
                (reply.get(&field::ADVISORY_COUNT, 0)) " recalls and advisories." }
            (numbers(reply))
        },
        Found::Neither(fault) => p.say.bad role="alert" { "This is no frame: " (fault) "." },
    } }
}

fn numbers<F: Form>(page: &Page<F>) -> Markup {
    let told = page.lines().filter(|line| line.value != 0);
    html! {
        div.sheet { table.stack {
            thead { tr {
                th scope="col" { "Field" } th scope="col" { "Place" } th scope="col" { "Number" } th scope="col" { "Meaning" }
            } }
            tbody { @for line in told { tr {
                td data-name="Field" { code { (line.spec.name) } }
                td data-name="Place" { (place(&line)) }
                td.number data-name="Number" { (line.value) }
                td data-name="Meaning" { (line.spec.meaning) }
            } } }
        } }
    }
}

/// Which of the field's numbers this is, in words where there are some.
fn place(line: &Line) -> String {
    let spec = line.spec;
    if spec.name == layout::COUNTERS.spec().name
        && let Some(counter) = Counter::ALL.get(line.at)
    {
        return format!("{} {}", counter.family(), counter.class());
    }
    if spec.name == layout::HIST.spec().name {
        let (model, cell) = (line.at / layout::CELLS, line.at % layout::CELLS);
        let review = crate::weeks::REVIEW_NAMES[cell / layout::BINS];
        return format!(
            "model place {model}, {review}, tenth {}",
            cell % layout::BINS
        );
    }
    if spec.count == 1 {
        String::new()
    } else {
        line.at.to_string()
    }
}
