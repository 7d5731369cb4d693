//! How often people agreed with the models: exact numbers, for the hospital's own eyes.

use super::layout::{Page, page};
use super::pieces::{moment, nothing};
use super::visit::Visit;
use crate::appliance::Api;
use crate::operations::reviews::{agreement, of_quarter};
use crate::problem::Problem;
use axum::Extension;
use axum::extract::State;
use maud::{Markup, html};
use pericard_store::review::Concordance;

pub(crate) async fn list(
    State(api): State<Api>,
    Extension(visit): Extension<Visit>,
) -> Result<Page, Problem> {
    let counted = of_quarter(&api).await?;
    let content = html! {
        p.path { a href="/console/models" { "Models" } " / agreement" }
        h1 { "Agreement" }
        p.quiet {
            "What clinicians said of the results of the last 13 weeks, by the week in which each was computed. The numbers \
             are exact and stay in the hospital. The share is of those that were judged; where few were, the interval is \
             wide."
        }
        @if counted.is_empty() { (nothing("There was no result in that time.")) } @else { (table(&counted)) }
    };
    Ok(page(&visit, "/console/models", "Agreement", content))
}

fn table(counted: &[Concordance]) -> Markup {
    html! {
        div.sheet {
            table.stack {
                thead { tr {
                    th scope="col" { "Week of" } th scope="col" { "Model" } th scope="col" { "Agreed" }
                    th scope="col" { "Disagreed" } th scope="col" { "Unreviewed" }
                    th scope="col" { "Agreement (95 % interval)" }
                } }
                tbody { @for week in counted {
                    tr {
                        td data-name="Week of" { (moment(week.week_begins)) }
                        td data-name="Model" { (week.model) }
                        td.number data-name="Agreed" { (week.agreed) }
                        td.number data-name="Disagreed" { (week.disagreed) }
                        td.number data-name="Unreviewed" { (week.unreviewed) }
                        td.number data-name="Agreement (95 % interval)" { (share(week)) }
                    }
                } }
            }
        }
    }
}

fn share(week: &Concordance) -> String {
    agreement(week).map_or("–".to_owned(), |shares| {
        let [share, low, high] = shares.map(|share| share * 100.0);
        format!("{share:.0} % ({low:.0} to {high:.0} %)")
    })
}
