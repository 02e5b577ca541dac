-- Many messages at once, such as the history of another system: psql -f copy.sql "$DATABASE_URL" < messages.csv
-- Lines: conversation_id,sender_id,content,is_read,created_at
-- Conversations that are listed by when they were last used need their times: see "Conversations of an import" in sql/README.md.
\set ON_ERROR_STOP on
\copy messages (conversation_id, sender_id, content, is_read, created_at) from pstdin with (format csv)
