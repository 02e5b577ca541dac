-- The host's own side of the database: a column and triggers of the kinds that hosts have, and one that fails some of the
-- inserts while host_mood says so (src/faults/database.rs).
alter table messages add column note text;
create table host_mood (refuses double precision not null default 0, until timestamptz not null default '-infinity');
insert into host_mood default values;

create function host_notes() returns trigger language plpgsql security definer as $$
begin
  update messages set note = 'seen' where id = new.id;
  return null;
end $$;
create trigger host_notes after insert on messages for each row
  when (hashtext(new.content) % 8 = 0) execute function host_notes();

create function host_touches() returns trigger language plpgsql as $$
begin
  new.updated_at := now();
  return new;
end $$;
create trigger host_touches before update on messages for each row execute function host_touches();
create trigger host_touches before update on conversations for each row execute function host_touches();

create function host_refuses() returns trigger language plpgsql security definer as $$
begin
  if exists (select from host_mood where random() < refuses and clock_timestamp() < until) then
    raise serialization_failure;
  end if;
  return new;
end $$;
create trigger host_refuses before insert on messages for each row execute function host_refuses();
