//! What needs a person's attention: one table of rules, judged here and written as alert rules for Prometheus.
//!
//! | file | what it knows |
//! | --- | --- |
//! | `rules` | the table, and what each rule tests |
//! | `prometheus` | the same as rules for Prometheus |
//! | `samples` | the proxy's own metrics, read back from their text |
//! | `watch` | which rules have been true for long enough |

mod prometheus;
mod rules;
mod samples;
mod watch;

pub use prometheus::alert_rules;
pub use rules::{Is, Only, RULES, Rule, Series, Severity, Test};
pub use samples::Samples;
pub use watch::{Finding, STEP, Watch};
