-- PostgreSQL lets everybody execute a new function. Most of pgchat's run with their owner's rights, so each
-- is taken back; sql/README.md says what to grant to whom. Triggers need no grant to fire.
--
-- The last file, so that it covers the functions of all others: a new file before the first release takes a lower number.
do $$
declare
  item regprocedure;
begin
  for item in
    select p.oid from pg_proc p
     where p.pronamespace = current_schema()::regnamespace and p.proname like 'chat\_%'
  loop
    execute format('revoke execute on function %s from public', item);
  end loop;
end
$$;

-- Column defaults, the conditions of triggers and the expressions of indexes are evaluated as the writing role.
grant execute on function chat_uuid_v7(), chat_stores_batch(), chat_activity_lag(),
  chat_search_day(timestamptz), chat_search_key(uuid, text, timestamptz), chat_search_words(regconfig, text),
  chat_search_vector(regconfig, text, uuid, uuid, uuid, timestamptz) to public;
