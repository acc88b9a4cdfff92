CREATE TABLE missions (id int AUTO_INCREMENT PRIMARY KEY, name varchar(40) NOT NULL);
DELIMITER $$
CREATE TRIGGER shout BEFORE INSERT ON missions FOR EACH ROW
BEGIN
  SET NEW.name = UPPER(NEW.name); -- one; two
END$$
DELIMITER ;
INSERT INTO missions (id, name) VALUES (1, 'a;b'), (2, 'c');
