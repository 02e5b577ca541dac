create trigger notify_message after insert on messages
  for each row execute function notify_message();
