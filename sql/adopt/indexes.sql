-- Indexes of the host's on adopted tables that cost more than they seem to: one line of advice each.
with host as (
  select i.indexrelid, i.indrelid, i.indkey, i.indclass, c.relname, format('%I.%I', n.nspname, c.relname) as name,
         i.indisunique or i.indpred is not null or i.indexprs is not null or m.amname <> 'btree' as is_special,
         -- BRIN does not keep an update from being HOT, from PostgreSQL 16 on.
         m.amname = 'brin' and current_setting('server_version_num')::int >= 160000 as is_summary,
         (select min(k.conname::text) from pg_constraint k
           where k.conindid = i.indexrelid and k.conrelid = i.indrelid) as of_constraint
    from pg_index i
    join pg_class c on c.oid = i.indexrelid
    join pg_namespace n on n.oid = c.relnamespace
    join pg_am m on m.oid = c.relam
   where i.indrelid in ('conversations'::regclass, 'messages'::regclass) and i.indisvalid
), warm as (
  select h.name, string_agg(a.attname::text, ', ' order by a.attnum) as columns,
         coalesce('alter table conversations drop constraint ' || quote_ident(min(h.of_constraint)),
                  format('drop index concurrently %s', h.name)) as remedy
    from host h
    join pg_attribute a on a.attrelid = h.indrelid and a.attname in ('updated_at', 'last_message_id', 'last_seq', 'last_xid')
   where h.indrelid = 'conversations'::regclass and not h.is_summary
     -- Its columns, and those of its expressions and its condition.
     and (a.attnum = any (h.indkey)
          or exists (select from pg_depend d
                      where d.classid = 'pg_class'::regclass and d.objid = h.indexrelid
                        and d.refclassid = 'pg_class'::regclass and d.refobjid = h.indrelid and d.refobjsubid = a.attnum))
   group by h.name
), redundant as (
  select h.name, min(p.relname::text) as own
    from host h
    join host p on p.indrelid = h.indrelid and p.relname like 'chat\_%'
     and p.indkey::text like h.indkey::text || ' %' and p.indclass::text like h.indclass::text || ' %'
     and exists (select from pg_index i where i.indexrelid = p.indexrelid and i.indpred is null and i.indexprs is null)
   where h.relname not like 'chat\_%' and not h.is_special and h.of_constraint is null
   group by h.name
)
select format('the index %s on %s keeps the update that each message makes of its conversation''s row from being HOT: each '
              'then costs an entry in all indexes of conversations; the chat does not need it: %s',
              w.name, w.columns, w.remedy) as advice
  from warm w
union all
select format('the index %s finds nothing that pgchat''s %s does not find, too; the chat does not need it: drop index concurrently %s',
              r.name, r.own, r.name)
  from redundant r
 order by advice
