//! The two text formats: OpenMetrics 1.0, and Prometheus' older format, which some tools still ask for.

/// The format of an exposition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `application/openmetrics-text; version=1.0.0`.
    OpenMetrics,
    /// `text/plain; version=0.0.4`.
    Text,
}

impl Format {
    /// The format for a caller with this `Accept` header: OpenMetrics, unless it accepts plain text and no better
    /// match.
    pub fn for_accept(accept: Option<&str>) -> Self {
        let names = |kind: &str| accept.is_some_and(|accept| accept.contains(kind));
        if names("text/plain") && !names("openmetrics-text") {
            Self::Text
        } else {
            Self::OpenMetrics
        }
    }

    /// The media type.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
        }
    }

    /// Converts `exposition`, which is OpenMetrics, to this format.
    pub(super) fn of(self, exposition: String) -> String {
        match self {
            Self::OpenMetrics => exposition,
            Self::Text => plain(&exposition),
        }
    }
}

/// The older format names a family like its samples, has neither units nor an end marker, and has no type `info`.
fn plain(exposition: &str) -> String {
    let mut out = String::with_capacity(exposition.len());
    let mut help = "";
    for line in exposition.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            // The name it belongs to is known when the type comes.
            help = rest.split_once(' ').map_or("", |(_, words)| words);
        } else if let Some((name, kind)) = line
            .strip_prefix("# TYPE ")
            .and_then(|rest| rest.split_once(' '))
        {
            let (suffix, kind) = match kind {
                "counter" => ("_total", "counter"),
                "info" => ("_info", "gauge"),
                kind => ("", kind),
            };
            out.push_str(&format!(
                "# HELP {name}{suffix} {help}\n# TYPE {name}{suffix} {kind}\n"
            ));
        } else if !line.starts_with('#') {
            out.push_str(line);
            out.push('\n');
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_text_is_for_those_who_ask_for_nothing_better() {
        for (cause, accept, expected) in [
            ("curl", Some("*/*"), Format::OpenMetrics),
            ("nothing said", None, Format::OpenMetrics),
            (
                "Prometheus",
                Some(
                    "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3",
                ),
                Format::OpenMetrics,
            ),
            (
                "an old scraper",
                Some("text/plain;version=0.0.4"),
                Format::Text,
            ),
        ] {
            assert_eq!(Format::for_accept(accept), expected, "{cause}");
        }
    }

    #[test]
    fn families_are_named_as_their_samples() {
        let open = "# HELP a_bytes What.\n# TYPE a_bytes counter\n# UNIT a_bytes bytes\na_bytes_total{x=\"#\"} 1\n\
                    # HELP b B.\n# TYPE b info\nb_info{v=\"1\"} 1\n# EOF\n";
        let expected = "# HELP a_bytes_total What.\n# TYPE a_bytes_total counter\na_bytes_total{x=\"#\"} 1\n\
                        # HELP b_info B.\n# TYPE b_info gauge\nb_info{v=\"1\"} 1\n";
        assert_eq!(plain(open), expected);
    }
}
