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

-- Column defaults are evaluated as the inserting role.
grant execute on function chat_uuid_v7() to public;
-- So are the conditions of triggers.
grant execute on function chat_stores_batch() to public;
