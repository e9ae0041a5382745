//! One call: from its offer to its end.

use std::fmt::Display;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use hyper::header::{ALLOW, CONTENT_TYPE, ETAG, HeaderMap, HeaderValue, IF_MATCH, LOCATION};
use hyper::{Response, StatusCode};
use serde_json::Value;
use sluicegate_core::fleet::origin::Target;
use sluicegate_core::http::head::RequestHead;
use sluicegate_core::http::whip::{CallRequest, SDP, is_sdp, resolve, resource as resource_path};
use sluicegate_core::place::origins_no::{may_mean_busy, means_busy};
use sluicegate_core::place::redirect::place_of;
use sluicegate_core::rtc::sdp::{self, Announced, Check, Rewritten, SdpError};
use sluicegate_core::stream::{Action, Protocol, Service, StreamUrl};
use tokio::time::timeout;
use tracing::info;

use super::super::calls::DeleteRequest;
use super::judged::{authorized, without};
use super::{Ask, Refused, broken_answer, json_target, pass_refusal, refuse, refused};
use crate::net::cors;
use crate::net::http::{Body, full, json, status_words};
use crate::origin::call::{self as origin_call, CallAnswer, Message, NoAnswer, TELL_WITHIN, tell};
use crate::proxy::{Attempt, DialError, Refusal, Request, Session};
use crate::registry::bindings::{Call, CallState};
use crate::sessions::EndReason;

/// What an origin agreed to.
pub(super) struct Agreed {
    pub(super) answer: CallAnswer,
    media: SocketAddr,
    api: Target,
    /// What it was asked for, against which its `Location` is resolved.
    pub(super) target: String,
}

/// Who offered what in a call.
pub(super) struct Offered {
    /// The credentials in the offer.
    pub(super) offered: Vec<Option<sdp::Credentials>>,
    /// By which its media is known.
    pub(super) checks: Vec<Check>,
}

impl Ask<'_> {
    /// A new call, by an offer as the body.
    pub(super) async fn offer(self, asked: CallRequest) -> Result<Response<Body>, Refused> {
        let kind = self.head.headers.text("content-type").unwrap_or(SDP);
        // `fetch` with a string as its body says `text/plain`, and origins do not look at that.
        if !is_sdp(kind) && !self.body.starts_with(sdp::BEGINNING) {
            let words = format!("an offer is of the type {SDP}");
            return Err(refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, words));
        }
        let stream = asked
            .stream
            .map_err(|error| refuse(StatusCode::BAD_REQUEST, error.to_string()))?;
        let offer = read_offer(&self.body)?;
        let session = self.open(stream, asked.action, &asked.target).await?;
        let body = Bytes::from(offer.sdp.clone());
        let target = session.for_origin(&asked.target).into_owned();
        let agreed = self.place(&session, &target, body).await?;
        let announced = self.whip.announced(self.head.host(), self.ends.local);
        let counters = agreed.answer.status == StatusCode::NOT_ACCEPTABLE;
        let (answer, standing) = match counters {
            false => {
                let read = read_answer(&agreed.answer.body, &offer, &announced);
                let (answer, checks) = read.map_err(|error| unusable(&session, &error))?;
                let offered = offer.credentials;
                (answer, Offered { offered, checks })
            }
            true => read_counter_offer(&agreed.answer.body, &announced)
                .map_err(|error| unusable(&session, &error))?,
        };
        let location = agreed.answer.headers.get(LOCATION);
        let location = location.and_then(|value| value.to_str().ok());
        let resource = location.and_then(|location| resolve(&agreed.target, location));
        let mut response = Response::new(full(answer.sdp));
        *response.status_mut() = match counters {
            false => StatusCode::CREATED,
            true => StatusCode::NOT_ACCEPTABLE,
        };
        keep_headers(&agreed.answer.headers, response.headers_mut());
        let kind = HeaderValue::from_static(SDP);
        response.headers_mut().insert(CONTENT_TYPE, kind);
        let id = self.stand(session, agreed, resource, standing).await?;
        let location = [self.base().as_str(), &resource_path(&id)].concat();
        if let Ok(location) = HeaderValue::try_from(location) {
            response.headers_mut().insert(LOCATION, location);
        }
        Ok(response)
    }

    /// A new call, by an offer in JSON. It has no resource, and ends when its client is silent.
    pub(super) async fn json(self, action: Action) -> Result<Response<Body>, Refused> {
        let bad = |words: &str| refuse(StatusCode::BAD_REQUEST, words);
        let mut document: Value =
            serde_json::from_slice(&self.body).map_err(|_| bad("the body is not JSON"))?;
        let part = |name: &str| document.get(name).and_then(Value::as_str);
        let url = part("streamurl")
            .ok_or_else(|| bad("the body names no streamurl"))?
            .to_owned();
        let text = part("sdp").ok_or_else(|| bad("the body has no sdp"))?;
        let (_, named_by) = url.split_once('?').unwrap_or_default();
        let stream = StreamUrl::from_webrtc(self.head.host(), &url)
            .and_then(|stream| self.proxy.dialects().named(stream, &[named_by]))
            .map_err(|error| bad(&error.to_string()))?;
        let offer = read_offer(text.as_bytes())?;
        let session = self.open(stream, action, &url).await?;
        set(&mut document, "sdp", &offer.sdp);
        let query = self.head.target.split_once('?').map(|(_, query)| query);
        let target = match query {
            Some(query) => format!("{}?{query}", json_target(action)),
            None => json_target(action).to_owned(),
        };
        set(&mut document, "streamurl", &session.for_origin(&url));
        let body = Bytes::from(document.to_string());
        let agreed = self.place(&session, &target, body).await?;
        let mut document: Value = serde_json::from_slice(&agreed.answer.body)
            .map_err(|_| unusable(&session, &"it is not JSON"))?;
        let Some(text) = document.get("sdp").and_then(Value::as_str) else {
            return Err(unusable(&session, &"it has no sdp"));
        };
        let announced = self.whip.announced(self.head.host(), self.ends.local);
        let read = read_answer(text.as_bytes(), &offer, &announced);
        let (answer, checks) = read.map_err(|error| unusable(&session, &error))?;
        set(&mut document, "sdp", &answer.sdp);
        let mut response = json(StatusCode::OK, &document);
        cors::take_word(&agreed.answer.headers, response.headers_mut());
        let offered = offer.credentials;
        self.stand(session, agreed, None, Offered { offered, checks })
            .await?;
        Ok(response)
    }

    /// The end of a call, at the wish of its client.
    pub(super) async fn delete(self, id: &str) -> Result<Response<Body>, Refused> {
        let call = self.call(id).await?;
        self.judge(&call).await?;
        let mut response = Response::new(full(""));
        let status = match &call.resource {
            None => StatusCode::OK,
            Some(resource) => {
                let told = timeout(TELL_WITHIN, self.tell(&call, resource, Bytes::new())).await;
                match told {
                    Ok(Ok(answer)) if answer.status.is_client_error() => {
                        // The call stays if the origin wants it to: a wrong token, say. One that it has forgotten is
                        // over all the same.
                        if answer.status != StatusCode::NOT_FOUND
                            && answer.status != StatusCode::GONE
                        {
                            note_refused(&call, "DELETE", answer.status);
                            return Err(pass_refusal(answer));
                        }
                        StatusCode::OK
                    }
                    Ok(Ok(answer)) if answer.status.is_success() => {
                        cors::take_word(&answer.headers, response.headers_mut());
                        answer.status
                    }
                    // It is over here, whatever has become of the origin.
                    Ok(Ok(_) | Err(_)) | Err(_) => StatusCode::OK,
                }
            }
        };
        if let Some(cluster) = self.proxy.cluster() {
            cluster.end_call(&call).await;
        }
        self.proxy.registry().bindings().remove(&call);
        if let Some(row) = self.proxy.sessions().row(call.session()) {
            row.end(EndReason::ClientClosed);
        }
        *response.status_mut() = status;
        Ok(response)
    }

    /// More of the client's ICE, a restart of it, or its answer to a counter-offer.
    pub(super) async fn patch(mut self, id: &str) -> Result<Response<Body>, Refused> {
        let call = self.call(id).await?;
        self.judge(&call).await?;
        if call.bare_tags {
            self.head.headers.change(|name, value| {
                let is_tag = name.eq_ignore_ascii_case(IF_MATCH.as_str());
                is_tag.then(|| bare(value).to_owned())
            });
        }
        let kind = self.head.headers.text("content-type").unwrap_or_default();
        if is_sdp(kind) {
            return self.answer_counter_offer(&call).await;
        }
        let fragment = sdp::client_fragment(&self.body)
            .map_err(|error| refuse(StatusCode::BAD_REQUEST, error.to_string()))?;
        let answer = self.amend(&call, fragment.sdp.clone()).await?;
        let mut response = Response::new(full(""));
        *response.status_mut() = answer.status;
        keep_headers(&answer.headers, response.headers_mut());
        if !answer.body.is_empty() {
            let announced = self.whip.announced(self.head.host(), self.ends.local);
            let rewritten = sdp::origin_fragment(&answer.body, &announced).map_err(|error| {
                info!(session = call.session(), origin = %call.origin, %error, "the origin's answer to PATCH cannot be used");
                broken_answer()
            })?;
            // New credentials on both sides are an ICE restart; the old ones still hold until it is done.
            let offered = if fragment.credentials.iter().any(Option::is_some) {
                &fragment.credentials
            } else {
                &call.offered
            };
            if let Ok(checks) = sdp::checks(offered, &rewritten.credentials) {
                self.proxy.registry().bindings().add(&call, &checks);
                if let Some(cluster) = self.proxy.cluster() {
                    cluster.tell_of_checks(&call, &checks).await;
                }
            }
            *response.body_mut() = full(rewritten.sdp);
        }
        Ok(response)
    }

    /// The description with which a player takes up an origin's counter-offer (draft-ietf-wish-whep). Its media is known
    /// by the credentials in both.
    async fn answer_counter_offer(&self, call: &Arc<Call>) -> Result<Response<Body>, Refused> {
        let answer = sdp::offer(&self.body)
            .map_err(|error| refuse(StatusCode::BAD_REQUEST, error.to_string()))?;
        let offered = self.offered_by_origin(call).await;
        let checks = sdp::checks(&answer.credentials, &offered);
        let told = self.amend(call, answer.sdp).await?;
        if let Ok(checks) = checks {
            self.proxy.registry().bindings().add(call, &checks);
            if let Some(cluster) = self.proxy.cluster() {
                cluster.tell_of_checks(call, &checks).await;
            }
        }
        let mut response = Response::new(full(""));
        *response.status_mut() = told.status;
        keep_headers(&told.headers, response.headers_mut());
        Ok(response)
    }

    /// What an origin offered, with the passwords, which only the bindings of the call have where another proxy
    /// signalled it.
    async fn offered_by_origin(&self, call: &Call) -> Vec<Option<sdp::Credentials>> {
        let mut offered = call.offered.clone();
        for credentials in offered.iter_mut().flatten() {
            if !credentials.password.is_empty() {
                continue;
            }
            let username = [&*credentials.fragment, ":"].concat().into_bytes();
            let mut found = self.proxy.registry().bindings().binding(&username);
            if found.is_none()
                && let Some(cluster) = self.proxy.cluster()
            {
                found = cluster.find_check(&username, self.client().ip()).await;
            }
            let found = found.filter(|found| found.call.id == call.id);
            let password = found.map(|found| String::from_utf8_lossy(&found.password).into_owned());
            credentials.password = password.unwrap_or_default();
        }
        offered
    }

    /// What the origin of a call says to a description that amends it.
    async fn amend(&self, call: &Call, description: String) -> Result<CallAnswer, Refused> {
        let Some(target) = &call.resource else {
            return Err(no_patch());
        };
        let told = self.tell(call, target, description.into());
        match timeout(TELL_WITHIN, told).await {
            Ok(Ok(answer)) if answer.status.is_success() => Ok(answer),
            Ok(Ok(answer)) => {
                note_refused(call, "PATCH", answer.status);
                Err(pass_refusal(answer))
            }
            // SRS closes, because it knows no PATCH.
            Ok(Err(_)) => Err(no_patch()),
            Err(_) => {
                let words = "its origin did not answer";
                Err(refuse(StatusCode::GATEWAY_TIMEOUT, words))
            }
        }
    }

    /// The call of a resource, whichever proxy signalled it.
    pub(super) async fn call(&self, id: &str) -> Result<Arc<Call>, Refused> {
        let mut call = self.proxy.registry().bindings().call(id);
        if call.is_none()
            && let Some(cluster) = self.proxy.cluster()
        {
            call = cluster.find_call(id, self.client().ip()).await;
        }
        call.ok_or_else(|| {
            refuse(
                StatusCode::NOT_FOUND,
                "there is no such call, or it is over",
            )
        })
    }

    async fn open(
        &self,
        stream: StreamUrl,
        action: Action,
        target: &str,
    ) -> Result<Session, Refused> {
        let client = self.client();
        let request = Request {
            stream,
            action,
            protocol: Protocol::WebRtc,
            client,
            by_way_of: Request::way(client, self.ends.peer),
            bond: None,
            credentials: self.credentials(target),
        };
        let opened = self.proxy.open(request).await;
        opened.map_err(|refusal| refused(&refusal))
    }

    /// Asks origins until one agrees.
    async fn place(&self, session: &Session, target: &str, body: Bytes) -> Result<Agreed, Refused> {
        let said = Mutex::new(Said::default());
        let dialled = session
            .dial(|attempt| self.ask_origin(session, attempt, target, body.clone(), &said))
            .await;
        dialled.map_err(|refusal| {
            let said = said.into_inner().unwrap_or_else(PoisonError::into_inner);
            match said.no {
                Some(answer) => pass_refusal(answer),
                None => refused(&refusal),
            }
        })
    }

    /// Asks one origin.
    pub(super) async fn ask_origin(
        &self,
        session: &Session,
        attempt: Attempt,
        target: &str,
        body: Bytes,
        said: &Mutex<Said>,
    ) -> Result<Agreed, DialError> {
        let said = || said.lock().unwrap_or_else(PoisonError::into_inner);
        let registry = self.proxy.registry();
        let is_here =
            |place: &str| registry.at(Service::Api, place).as_ref() == Some(&attempt.origin);
        let moved = said().moved.take().filter(|(place, _)| is_here(place));
        let mut target = match moved {
            Some((_, target)) => target,
            None => self.target_at(session, &attempt, target)?,
        };
        let Some(api) = registry.target(&attempt.origin, Service::Api) else {
            return Err(DialError::Refused(
                "its origin has WebRTC media and no API to ask for it".to_owned(),
            ));
        };
        let dialer = self.whip.calls.dialer();
        let media = dialer.datagrams(&attempt).await?;
        let Some(&media) = media.first() else {
            return Err(DialError::Failed("it has no address for media".to_owned()));
        };
        let at_api = Attempt {
            service: Service::Api,
            target: api.clone(),
            ..attempt.clone()
        };
        let head = without(&self.head, session.headers_taken_out());
        let mut answer = self.exchange(&at_api, &head, &target, body.clone()).await?;
        registry.answered(&at_api.origin);
        if let Some((place, elsewhere)) = redirect(&answer, &target) {
            let connector = &dialer.connector;
            let place = match place {
                Some(place) => Some(connector.as_registered(registry, &at_api, place).await),
                None => None,
            };
            if place.as_deref().is_some_and(|place| !is_here(place)) {
                let place = place.unwrap_or_default();
                let for_one = elsewhere != target;
                said().moved = Some((place.clone(), elsewhere));
                return Err(DialError::Moved { place, for_one });
            }
            target = elsewhere;
            answer = self.exchange(&at_api, &head, &target, body).await?;
        }
        let publishes = session.row().request.action == Action::Publish;
        if let Some(no) = no_in_json(&answer) {
            let (status, why) = (status_words(answer.status), no.why);
            let words = format!("it answered {status} with {why}");
            said().no = Some(no.told);
            return Err(match publishes && no.is_busy {
                true => DialError::Busy(words),
                false => DialError::Refused(words),
            });
        }
        let agrees = answer.status.is_success();
        if agrees || (session.row().request.action == Action::Play && is_counter_offer(&answer)) {
            return Ok(Agreed {
                answer,
                media,
                api,
                target,
            });
        }
        let words = format!("it answered {}", status_words(answer.status));
        let has_publisher = publishes && may_mean_busy(answer.status.as_u16());
        let busy = matches!(
            answer.status,
            StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT
        );
        said().no = Some(answer);
        // The next may have room; one that says no to this client says so for all.
        Err(if busy {
            DialError::HungUp(words)
        } else if has_publisher {
            DialError::Busy(words)
        } else {
            DialError::Refused(words)
        })
    }

    /// Sends an offer to the API of an origin.
    async fn exchange(
        &self,
        at_api: &Attempt,
        head: &RequestHead,
        target: &str,
        body: Bytes,
    ) -> Result<CallAnswer, DialError> {
        let dialer = self.whip.calls.dialer();
        let stream = dialer.dial(at_api, self.client(), self.ends.local).await?;
        let forwarded = self.forwarded();
        let message = Message {
            head,
            target,
            body,
            forwarded: &forwarded,
        };
        let mut answer = pin!(origin_call::ask(stream, message));
        let answered = match self.whip.silence.wait(at_api, &mut answer).await? {
            Some(answered) => answered,
            None => answer.await,
        };
        let answered = answered.map(|answer| self.led(answer, &at_api.target));
        answered.map_err(|no_answer| match no_answer {
            // It lives, whatever it answers.
            NoAnswer::Coded(_) | NoAnswer::HungUp => DialError::HungUp(no_answer.to_string()),
            NoAnswer::Broken(_) | NoAnswer::NotDialled(_) => {
                DialError::Failed(no_answer.to_string())
            }
        })
    }

    /// The target as the origin is to get it. SRS's calls in JSON mean nothing to another server.
    fn target_at(
        &self,
        session: &Session,
        attempt: &Attempt,
        target: &str,
    ) -> Result<String, DialError> {
        if attempt.naming.is_of(self.dialect) {
            return Ok(target.to_owned());
        }
        if [Action::Play, Action::Publish]
            .iter()
            .any(|action| target.starts_with(json_target(*action)))
        {
            let words = "a call in JSON goes to SRS origins only; use WHIP or WHEP";
            return Err(DialError::Refused(words.to_owned()));
        }
        let request = &session.row().request;
        let (_, query) = target.split_once('?').unwrap_or_default();
        Ok(attempt
            .naming
            .call(self.dialect, &request.stream, request.action, query)?)
    }

    /// Writes the call down, and lets it stand until something ends it. From here on media may come, to any proxy.
    pub(super) async fn stand(
        &self,
        session: Session,
        agreed: Agreed,
        resource: Option<String>,
        known: Offered,
    ) -> Result<String, Refused> {
        let id = new_id().ok_or_else(|| {
            refuse(
                StatusCode::INTERNAL_SERVER_ERROR,
                "the system gives no random numbers",
            )
        })?;
        let row = session.row();
        let Some(origin) = row.placed().origin else {
            return Err(refuse(
                StatusCode::BAD_GATEWAY,
                "the call was placed nowhere",
            ));
        };
        let stream = row.asked().unwrap_or(&row.request.stream).clone();
        let carrier = self.proxy.cluster().map_or("", |cluster| cluster.id());
        let call = Arc::new(Call {
            id: id.clone(),
            stream: row.request.stream.clone(),
            action: row.request.action,
            client: row.request.client,
            origin,
            api: agreed.api,
            resource,
            media: agreed.media,
            authorized: authorized(&session, self.proxy.may_judge(&stream, row.request.action)),
            bare_tags: tag(&agreed.answer.headers).is_some_and(|tag| bare(tag) == tag),
            offered: known.offered,
            shared: CallState::new(known.checks, carrier),
        });
        let voice = DeleteRequest {
            client: self.client(),
            local: self.ends.local,
            forwarded: self.forwarded(),
            head: without(&self.head, session.headers_taken_out()).into_owned(),
        };
        let calls = &self.whip.calls;
        // Another proxy that takes it would count the operator as a viewer.
        let is_shared = !session.row().is_preview();
        calls.stand(self.proxy, session, Arc::clone(&call), voice);
        if let Some(cluster) = self.proxy.cluster().filter(|_| is_shared) {
            cluster.tell_of_call(&call).await;
        }
        Ok(id)
    }

    /// Says something of a call to the origin that answered it.
    pub(super) async fn tell(
        &self,
        call: &Call,
        target: &str,
        body: Bytes,
    ) -> Result<CallAnswer, NoAnswer> {
        let head = self.head_about(call);
        let message = Message {
            head: &head,
            target,
            body,
            forwarded: &self.forwarded(),
        };
        let (client, local) = (self.client(), self.ends.local);
        let dialer = self.whip.calls.dialer();
        let told = tell(dialer, self.proxy.registry(), call, client, local, message).await;
        told.map(|answer| self.led(answer, &call.api))
    }
}

/// What origins said to an offer that they did not take.
#[derive(Default)]
pub(super) struct Said {
    no: Option<CallAnswer>,
    /// Where one of them sends it, as `host:port`, and the target there.
    moved: Option<(String, String)>,
}

/// Where an offer is to be sent instead, method and body unchanged (RFC 9725 §4.5): the place, if the origin names one,
/// and the target there.
fn redirect(answer: &CallAnswer, target: &str) -> Option<(Option<String>, String)> {
    let same_method = [
        StatusCode::TEMPORARY_REDIRECT,
        StatusCode::PERMANENT_REDIRECT,
    ];
    if !same_method.contains(&answer.status) {
        return None;
    }
    let location = answer.headers.get(LOCATION)?.to_str().ok()?;
    Some((place_of(location, Service::Api), resolve(target, location)?))
}

/// Ends a session whose origin agreed with an answer that no client could use.
fn unusable(session: &Session, why: &dyn Display) -> Refused {
    say_no(session, format!("an answer that cannot be used: {why}"));
    broken_answer()
}

/// Ends a session whose origin said no after it had answered.
fn say_no(session: &Session, description: String) {
    let origin = session.row().placed().origin;
    session.refuse(&Refusal::Refused {
        origin: origin.unwrap_or_else(|| "-".into()),
        description,
    });
}

/// Tells of an origin that refuses to change a call, which goes on.
fn note_refused(call: &Call, method: &str, status: StatusCode) {
    info!(
        session = call.session(),
        stream = %call.stream,
        origin = %call.origin,
        method,
        code = status.as_u16(),
        "the origin refused to change a call"
    );
}

/// The refusal of a change of a call that its origin takes none of.
fn no_patch() -> Refused {
    let mut refused = refuse(StatusCode::METHOD_NOT_ALLOWED, NO_PATCH);
    let allowed = HeaderValue::from_static("DELETE, OPTIONS");
    refused.headers_mut().insert(ALLOW, allowed);
    refused
}

fn read_offer(body: &[u8]) -> Result<Rewritten, Refused> {
    sdp::offer(body).map_err(|error| {
        refuse(
            StatusCode::BAD_REQUEST,
            format!("the offer is refused: {error}"),
        )
    })
}

pub(super) fn read_answer(
    body: &[u8],
    offer: &Rewritten,
    announced: &Announced,
) -> Result<(Rewritten, Vec<Check>), SdpError> {
    let answer = sdp::answer(body, announced)?;
    let checks = sdp::checks(&offer.credentials, &answer.credentials)?;
    Ok((answer, checks))
}

/// An origin's offer in place of an answer. Until the player answers it, its media is known by the origin's half.
fn read_counter_offer(
    body: &[u8],
    announced: &Announced,
) -> Result<(Rewritten, Offered), SdpError> {
    let offer = sdp::answer(body, announced)?;
    let nobody = Some(sdp::Credentials {
        fragment: String::new(),
        password: String::new(),
    });
    let nobody = vec![nobody; offer.credentials.len()];
    let checks = sdp::checks(&nobody, &offer.credentials)?;
    let offered = offer.credentials.clone();
    Ok((offer, Offered { offered, checks }))
}

/// Whether an origin does not take a player's offer and makes one itself, which the player answers at a resource.
fn is_counter_offer(answer: &CallAnswer) -> bool {
    let kind = answer.headers.get(CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    answer.status == StatusCode::NOT_ACCEPTABLE
        && is_sdp(kind)
        && answer.headers.contains_key(LOCATION)
}

/// What of an origin's headers goes on; `Location` is ours, and tags have the quotes that HTTP asks for (RFC 9110
/// §8.8.3): some servers forget them, and browsers send back what they got.
pub(super) fn keep_headers(from: &HeaderMap, to: &mut HeaderMap) {
    for (name, value) in from {
        if name != LOCATION {
            to.append(name, value.clone());
        }
    }
    if let Some(bare) = tag(from).filter(|tag| bare(tag) == *tag)
        && let Ok(quoted) = HeaderValue::try_from(format!("\"{bare}\""))
    {
        to.insert(ETAG, quoted);
    }
}

fn tag(headers: &HeaderMap) -> Option<&str> {
    headers.get(ETAG)?.to_str().ok()
}

/// An entity tag without its quotes.
fn bare(tag: &str) -> &str {
    let strong = tag.trim().trim_start_matches("W/");
    let inside = strong
        .strip_prefix('"')
        .and_then(|tag| tag.strip_suffix('"'));
    inside.unwrap_or(tag)
}

/// A no in a document.
struct JsonNo {
    /// As clients get it, without the origin's words.
    told: CallAnswer,
    /// The origin's words, for the log.
    why: String,
    /// The stream has a publisher.
    is_busy: bool,
}

/// The no of an answer that agrees by its status and refuses by its document, as SRS does: a code other than 0, and no
/// description.
fn no_in_json(answer: &CallAnswer) -> Option<JsonNo> {
    if !answer.status.is_success() {
        return None;
    }
    let document: Value = serde_json::from_slice(&answer.body).ok()?;
    let code = document.get("code")?.as_i64().filter(|code| *code != 0)?;
    if document.get("sdp").is_some() {
        return None;
    }
    let text = |name: &&str| document.get(*name).and_then(Value::as_str);
    let mut texts = ["msg", "data", "message", "error"].iter().filter_map(text);
    let why = match texts.next() {
        Some(words) => format!("code {code}: {}", bounded(words)),
        None => format!("code {code}"),
    };
    // A code that is a status of clients is one; SRS has others of its own, which say nothing of whose turn it is.
    let status = u16::try_from(code)
        .ok()
        .and_then(|code| StatusCode::from_u16(code).ok());
    let status = status.filter(StatusCode::is_client_error);
    let told = serde_json::json!({ "code": code, "data": "its origin refused the call" });
    let mut headers = answer.headers.clone();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let no = CallAnswer {
        status: status.unwrap_or(StatusCode::BAD_GATEWAY),
        headers,
        body: told.to_string().into(),
    };
    Some(JsonNo {
        told: no,
        why,
        is_busy: means_busy(code),
    })
}

/// An origin's words as a log line takes them: few, and of letters that do nothing to a terminal.
fn bounded(words: &str) -> String {
    let printable = |letter: char| if letter.is_control() { ' ' } else { letter };
    words.chars().take(MAX_LOGGED).map(printable).collect()
}

fn set(document: &mut Value, name: &str, value: &str) {
    if let Some(members) = document.as_object_mut() {
        members.insert(name.to_owned(), value.into());
    }
}

/// 128 random bits.
fn new_id() -> Option<String> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).ok()?;
    Some(random.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Letters of an origin's words that are logged.
const MAX_LOGGED: usize = 200;
const NO_PATCH: &str =
    "its origin takes neither further candidates nor an ICE restart; none is needed";
