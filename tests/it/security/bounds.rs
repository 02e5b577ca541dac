//! What stands in `docs/attacks.md` besides figures: what one user can do to others, and what bounds it.

use std::path::Path;

/// With links as they are from there. The limits are those of the settings' defaults.
pub const BOUNDS: &str = "\
## What one user can do to the others

For a user with a valid token, or let in by a gateway, on one replica with the default settings; several such users can each do it. The settings are in [limits.md](limits.md), what does not hold is in [SECURITY.md](../SECURITY.md).

| a user who … | costs the others | bounded by | test |
| --- | --- | --- | --- |
| comes back with an old cursor on all of their 20 sockets, again and again | one more replay to wait for, of the 3 that are read at a time | one client of a user at most waits in line or is read for, the others wait behind it; whoever hangs up gives up the place; half of the connections for requests are never used for replays | `a_user_whose_twenty_sockets_come_back_without_a_pause_takes_one_turn_of_all`, `a_user_with_nineteen_that_wait_delays_another_by_one_replay_at_most`, `who_hangs_up_while_waiting_for_a_turn_is_gone_at_once`, `those_who_come_back_leave_half_of_the_connections_to_the_others` |
| does the same while nobody else comes back | the database's time for 5 replays a second, after 20 at once | each replay counts as a hundred frames, of which 500 a second are allowed; beyond that the user is held back | `a_replay_counts_like_a_hundred_frames_so_that_a_loop_of_them_is_held_back`, `twenty_sockets_of_a_user_that_come_back_at_once_are_not_held_back` |
| asks over HTTP for what they missed since an old cursor, without a pause | one replay to wait for, of the 3 that are read at a time; the database's time for 5 replays a second, after 20 at once (by way of a gateway, one after the other) | one of a user at a time, in the line of their sockets; with a token of theirs each counts as a hundred frames, and beyond the limit they are refused; 64 that are read or wait; one who hangs up has their turn until what they asked for has ended | `who_polls_without_a_pause_is_refused_for_a_while_and_nobody_else_is`, `one_replay_a_second_is_welcome_whatever_the_limit_is`, `those_who_ask_what_they_missed_wait_in_the_line_of_replays_and_keep_no_other_read_waiting` |
| does not take what was missed, or takes it slowly | an eighth of the room for replays (64 MiB) | at most 8 MiB are theirs, and a client that takes nothing for 20 s is cut off | `who_takes_nothing_of_their_replays_leaves_the_others_their_room` |
| does not take large pages, or takes them slowly | an eighth of the room for pages (64 MiB) | the same; in trusted mode, where no user is named, by conversation | `who_takes_nothing_of_large_answers_leaves_the_others_their_room` |
| begins large messages or bodies, and finishes none | an eighth of the room for large ones (64 MiB) | at most 8 MiB are theirs, and each has 20 s to be complete; those of up to 64 KiB need no room | `a_user_who_finishes_none_of_their_large_messages_leaves_the_others_their_room` |
| sends or edits long messages without a pause | the database's time for 3 of the longest a second, after 12 at once | each counts as a send for each 4 KiB of it; messages of more than 8 KiB are stored beside the others | `what_is_sent_or_edited_counts_once_for_each_four_kibibytes_of_it`, `content_counts_once_for_each_four_kibibytes_that_are_begun`, `while_a_long_message_is_stored_short_ones_of_other_flows_are` |
| edits, marks, deletes or opens conversations without a pause, also where a trigger of yours takes long for what they write | one change to wait for, of the 2 at a time; a mark that comes together with theirs, a quarter of a request's time in the database, until they are known for it | one change of a user at a time, those of all on a third of the connections; a turn lasts until its statement has ended; whose marks have taken long makes the next ones alone | `a_user_whose_changes_take_long_leaves_the_others_theirs`, `whose_mark_has_taken_long_by_itself_delays_no_others_with_the_next`, `whose_mark_has_made_a_group_slow_delays_no_others_with_the_next`, `whoever_changes_and_hangs_up_has_no_more_connections_than_who_stays` |
| watches as many users as may be, again and again | 10 commands of the 50 a second for each list | a list counts as a command for each 50 users | `a_list_to_watch_counts_once_for_each_fifty_users` |
| sends frames of any kind without a pause | \"frames\" above | 50 sends, 50 of all other calls that are counted and 500 frames a second, after 200, 200 and 2,000 at once; beyond that the user's sockets are not read | `a_flood_of_frames_is_answered_at_its_own_cost` |
| sends much before being greeted | nothing | 32 frames, or 64 KiB and one more, are kept | `what_a_client_sends_before_it_is_greeted_is_done_after_that_and_in_order` |
| opens more sockets than allowed | \"attempts\" and \"handshakes\" above | 20 sockets; beyond them refusals need no query, and all refusals together are 200 a second | `a_user_who_has_all_their_sockets_is_refused_without_a_question_to_the_database`, `a_flood_of_handshakes_gets_as_many_sockets_as_a_user_may_have` |
| does not read | nothing | 256 events, or 16 MiB, wait for a socket, then it is closed | `a_socket_that_does_not_read_is_closed_with_1013_and_delays_no_other` |
| sends or edits texts that PostgreSQL's text search parser is slow on, or searches for them | some 50 ms of the database for each text of 64 KiB, where prose takes 20 | the signs that it looks ahead from are taken out before it sees them; 3 of the longest a second, after 12 at once | `no_text_takes_a_time_that_grows_with_its_square`, `a_message_that_the_parser_is_slow_on_is_stored_and_holds_up_nobody` |
| searches for words that are in many long messages, without a pause | one search to wait for, of the 2 at a time, and nothing else; a core of the database | one search of a user at a time, of 3 s at most, and those of all users on a third of the connections | `a_user_who_searches_without_a_pause_takes_one_turn_and_nobodys_reads_wait`, `who_hangs_up_and_searches_again_takes_no_more_than_one_turn`, `a_search_that_takes_too_long_is_given_up_and_the_next_has_its_turn` |
| asks for lists of users without a pause | one list to wait for, of the 2 at a time (both, by way of a gateway, where such a list is nobody's), and nothing else; a core of the database | one list of a user at a time, of 3 s at most, and those of all on a third of the connections; 64 that are read or wait | `lists_of_users_that_take_long_leave_everything_else_its_connections`, `a_user_has_one_list_of_users_at_a_time_and_all_together_leave_the_other_reads_theirs`, `a_list_of_users_that_takes_too_long_is_given_up_and_the_next_has_its_turn`, `a_user_who_has_too_many_lists_of_users_under_way_is_told_so` |
| asks for pages without a pause, and takes them | 2 of the 6 connections for requests, and the database's time for what runs there | 2 reads of a user at a time, and 64 that are read or wait; one who hangs up has their turn until what they asked for has ended | `a_user_who_reads_without_a_pause_leaves_the_others_their_connections`, `who_hangs_up_has_no_more_turns_than_who_waits`, `so_many_requests_of_a_user_that_read_are_under_way_and_no_more` |
";

#[test]
fn what_one_user_can_do_stands_in_the_document_with_tests_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let document = std::fs::read_to_string(root.join("docs/attacks.md")).expect("docs/attacks.md");
    assert!(document.ends_with(BOUNDS));
    let tests = crate::promises::tests_below(&["tests/it", "src"]);
    let named: Vec<&str> = BOUNDS.split('`').skip(1).step_by(2).collect();
    assert!(named.len() > 10, "{named:?}");
    for name in named {
        assert!(tests.contains(name), "no test is called {name}");
    }
}
