use super::*;
use crate::config::Secret;

#[test]
fn large_answers_are_the_callers_and_a_gateways_are_those_of_whom_it_asks_for() {
    let [own, named] = [1, 2].map(|number| UserId(uuid::Uuid::from_u128(number)));
    let tokens = ServiceTokens::new(&["one", "two"].map(|text| Secret::new(text.to_owned())));
    let service = tokens.find("two").unwrap();
    let user = Kind::User {
        user: own,
        until: None,
    };
    let holder = |kind| Caller(kind).holder(Holder::User(named));
    assert_eq!(holder(user), Holder::User(own));
    assert_eq!(holder(Kind::Service(service)), Holder::Service(service));
    assert_eq!(holder(Kind::Trusted), Holder::User(named));
}
