//! Whether a viewer may have a piece, and the viewing that begins or goes on with it.

use std::sync::Arc;

use sluicegate_core::http::link::{Link, Viewing};
use sluicegate_core::http::route::Piece;
use sluicegate_core::http::segment::Owners;
use sluicegate_core::stream::Action;

use super::links::{counts, expiry};
use crate::listener::http::refusal::Refused;
use crate::listener::http::viewer::{self, Viewer};
use crate::listener::http::{Http, granted};
use crate::proxy::{BeginningViewing, Grant, PieceGuard, Proxy, Refusal, Request};
use crate::unix_time;

/// A request that was let in.
pub(super) struct Judged {
    /// Its share in the placement.
    pub(super) place: PieceGuard,
    /// Who asks, where an access rule may be about the stream.
    pub(super) viewer: Option<Arc<Viewer>>,
    /// Whether a viewer of such a stream begins: it has no link yet that lets it in.
    pub(super) first: bool,
    /// The viewing that begins if it gets what it asks for.
    pub(super) beginning: Option<BeginningViewing>,
}

/// Lets a request in where nobody is judged.
pub(super) fn let_in_unjudged(
    proxy: &Proxy,
    asked: Request,
    link: Option<&Link>,
) -> Result<Judged, Refused> {
    let named = link.map(|link| link.origin.clone());
    let placed = proxy.place_admitted(asked, named, Grant::default());
    let place = placed.map_err(refused)?;
    Ok(Judged {
        place,
        viewer: None,
        first: false,
        beginning: None,
    })
}

/// Takes a request through the gate. `owners` are all whose file it may be for; `link` is the one that it shows, and whether that was given to somebody who was let in; `is_listed` says whether a page of the link's stream listed it.
pub(super) async fn let_in(
    http: &Http,
    proxy: &Proxy,
    asked: Request,
    kind: Piece,
    owners: Owners,
    (link, is_listed): (Option<(&Link, bool)>, bool),
) -> Result<Judged, Refused> {
    let client = asked.client.ip();
    let viewing = link
        .filter(|(_, lets_in)| *lets_in)
        .and_then(|(link, _)| link.viewing.as_deref())
        .filter(|viewing| counts(viewing, kind, client))
        .cloned();
    let link = link.map(|(link, _)| link);
    let called = viewing.as_ref().and_then(|viewing| viewing.asked.as_ref());
    let guarded = [Some(&asked.stream), called]
        .into_iter()
        .flatten()
        .any(|stream| proxy.may_judge(stream, Action::Play))
        || viewing.is_some() && proxy.has_rules()
        || link.is_none() && proxy.may_judge_owners(&owners);
    let named = granted::Named {
        owners,
        link,
        is_listed,
    };
    let place = granted::admitted(proxy, asked, named, viewing.as_ref())
        .await
        .map_err(refused)?;
    if !guarded {
        return Ok(Judged {
            place,
            viewer: None,
            first: false,
            beginning: None,
        });
    }
    let ends = match (&viewing, link) {
        (Some(_), Some(link)) => link.expires,
        _ => {
            let over = place.grant().ends_at.unwrap_or(u64::MAX);
            expiry(unix_time::seconds()).min(over)
        }
    };
    let first = viewing.is_none();
    let (viewing, beginning) = go_on(proxy, &place, kind, viewing).await?;
    let viewer = Viewer {
        pieces: Arc::clone(&http.pieces),
        stream: place.request().stream.clone(),
        viewing,
        ends,
    };
    Ok(Judged {
        place,
        viewer: Some(Arc::new(viewer)),
        first,
        beginning,
    })
}

/// The viewing of a request: the one that its link names, or one that begins.
async fn go_on(
    proxy: &Proxy,
    place: &PieceGuard,
    kind: Piece,
    viewing: Option<Viewing>,
) -> Result<(Viewing, Option<BeginningViewing>), Refused> {
    match viewing {
        Some(viewing) if kind == Piece::Segment => Ok((viewing, None)),
        Some(viewing) => {
            let went_on = proxy.continue_viewing(place.request(), &viewing).await;
            went_on.map_err(refused)?;
            Ok((viewing, None))
        }
        None => {
            let viewing = viewer::begin(kind, place, unix_time::seconds());
            if kind == Piece::Segment {
                return Ok((viewing, None));
            }
            let beginning = proxy.begin_viewing(place, &viewing).map_err(refused)?;
            Ok((viewing, beginning))
        }
    }
}

fn refused(refusal: Refusal) -> Refused {
    Refused::from(&refusal)
}
