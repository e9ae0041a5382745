//! An operator's browser has a page of another site open: it may neither drain the proxy nor read what it knows.

use serde_json::json;

use crate::support::browser::Browser;
use crate::support::http::{Answer, Server};
use crate::support::{Proxy, machine};

#[test]
fn a_page_of_another_site_drains_nothing() {
    let _turn = machine::share();
    let proxy = Proxy::start("");
    let site = Server::start(|_| Answer {
        headers: vec![("Content-Type", "text/html")],
        body: b"<!doctype html><title>another site</title>".to_vec(),
        ..Answer::status(200)
    });
    let drain = format!("http://{}/api/v1/proxy/drain", proxy.system);
    let register = format!("http://{}/api/v1/srs/register", proxy.system);
    // What a page may send without asking: with its origin, without, as a form, and as text that is JSON.
    let script = format!(
        "const send = (url, more) => fetch(url, {{ method: 'POST', mode: 'no-cors', ...more }});
        const origin = {{ ip: '127.0.0.1', server: 's', service: 's', pid: '1', rtmp: ['1935'] }};
        await send('{drain}');
        await send('{drain}', {{ referrerPolicy: 'no-referrer' }});
        await send('{register}', {{ body: JSON.stringify(origin) }});
        const frame = Object.assign(document.createElement('iframe'), {{ name: 'answer' }});
        const form = document.createElement('form');
        Object.assign(form, {{ target: 'answer', action: '{drain}', method: 'post' }});
        document.body.append(frame, form);
        const answered = new Promise((done) => {{ frame.onload = done; }});
        form.submit();
        await answered;
        return 'sent';"
    );
    let url = format!("http://second-site.test:{}/", site.address.port());
    let browser = Browser::run(&url, HOSTS, &script);
    assert_eq!(browser.wait_said(), "sent");
    let row = proxy.api("/api/v1/proxy");
    assert_eq!(row["data"]["draining"], false, "{row}");
    assert_eq!(proxy.system("GET", "/readyz").status, 200);
    assert!(proxy.origins().is_empty(), "{:?}", proxy.origins());
    let refused = "sluicegate_auth_refusals_total{surface=\"system\"} 3";
    let metrics = proxy.system("GET", "/metrics").text();
    assert!(metrics.contains(refused), "each of them came: {metrics}");
}

#[test]
fn a_foreign_name_that_points_here_reads_nothing() {
    let _turn = machine::share();
    let proxy = Proxy::start("");
    // The browser takes every document of this name and port for one site, so its scripts may read all of them.
    let url = format!("http://rebound.test:{}/livez", proxy.system.port());
    let script = "const ask = async (path, more) => {
            const response = await fetch(path, more);
            return [response.status, (await response.text()).includes('data')];
        };
        return [
            await ask('/api/v1/origins'),
            await ask('/api/v1/sessions', { headers: { 'X-Sluicegate': '1' } }),
            await ask('/api/v1/proxy/drain', { method: 'POST' }),
            await ask('/metrics'),
        ];";
    let browser = Browser::run(&url, HOSTS, script);
    let refused = json!([421, false]);
    assert_eq!(
        browser.wait_said(),
        json!([refused, refused, refused, refused])
    );
    assert_eq!(proxy.system("GET", "/readyz").status, 200);
}

const HOSTS: &str = "MAP second-site.test 127.0.0.1,MAP rebound.test 127.0.0.1";
