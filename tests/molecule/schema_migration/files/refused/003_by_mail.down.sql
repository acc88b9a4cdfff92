-- bascule: no-transaction
DROP INDEX CONCURRENTLY by_mail;
