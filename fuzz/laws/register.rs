//! Whatever is registered can be dialled, at allowed addresses, and every endpoint reads back as it is written.

use sluicegate_core::fleet::origin::{AddressRules, Endpoint, parse_registration};
use sluicegate_core::stream::Service;

/// `data` is the body of a registration.
pub fn law(data: &[u8]) {
    let rules = AddressRules::default();
    let origin = match parse_registration(data, &rules) {
        Ok(origin) => origin,
        Err(error) => {
            // The problem goes into a log line and a JSON answer.
            assert!(!error.problem.contains(char::is_control), "{error:?}");
            assert!(error.problem.len() < 4096, "{error:?}");
            return;
        }
    };
    assert!(origin.endpoints.services() > 0);
    assert!(origin.same_place(&origin.clone()));
    assert!(!origin.instance().contains(char::is_control));
    assert!(!origin.label().is_empty());
    for service in Service::ALL {
        for endpoint in origin.endpoints.of(service) {
            let again = Endpoint::parse(&endpoint.to_string(), service);
            assert_eq!(again.as_ref(), Ok(endpoint));
        }
        if let Some(target) = origin.target(service) {
            assert_ne!(target.port, 0);
            assert_eq!(rules.check(&target.host), Ok(()));
        }
    }
}
