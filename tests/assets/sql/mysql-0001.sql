CREATE TABLE `f1mon_alembic_version` (
  `version_num` varchar(32) NOT NULL,
  PRIMARY KEY (`version_num`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci;
INSERT INTO `f1mon_alembic_version` VALUES ('0001');
CREATE TABLE `f1mon_alerts` (
  `alert_id` varbinary(1020) NOT NULL,
  `at` bigint(20) NOT NULL,
  `at_given` smallint(6) NOT NULL,
  `recorded_at` bigint(20) NOT NULL,
  `v` int(11) NOT NULL,
  `severity` varbinary(1020) NOT NULL,
  `component` varbinary(1020) NOT NULL,
  `model_version` varbinary(1020) NOT NULL,
  `metric_name` varbinary(1020) NOT NULL,
  `rule_id` varbinary(1020) DEFAULT NULL,
  `incident_id` varbinary(1020) DEFAULT NULL,
  `content` longtext NOT NULL,
  PRIMARY KEY (`alert_id`),
  KEY `ix_f1mon_alerts_at` (`at`,`alert_id`),
  KEY `ix_f1mon_alerts_rule` (`rule_id`,`at`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
INSERT INTO `f1mon_alerts` VALUES (0x6131,1777636800000000,0,1777636800000000,1,0x637269746963616C,0x6D6F64656C,0x706F6469756D2D31,0x6163637572616379,0x72,NULL,'{\"alert_id\":\"a1\",\"severity\":\"critical\",\"title\":\"Low accuracy\",\"message\":\"0.5 < 0.7\",\"metric_name\":\"accuracy\",\"component\":\"model\",\"model_version\":\"podium-1\",\"metric_value\":0.5,\"threshold\":0.7,\"rule_id\":\"r\"}');
INSERT INTO `f1mon_alerts` VALUES (0x6132,1777636800000000,0,1777636800000000,1,0x696E666F,0x6D6F64656C,0x706F6469756D2D31,0x6163637572616379,NULL,NULL,'{\"alert_id\":\"a2\",\"severity\":\"info\",\"title\":\"Two\",\"message\":\"b\",\"metric_name\":\"accuracy\",\"component\":\"model\",\"model_version\":\"podium-1\"}');
CREATE TABLE `f1mon_attributes` (
  `kind` varbinary(64) NOT NULL,
  `key_1` varbinary(1020) NOT NULL,
  `key_2` varbinary(1020) NOT NULL,
  `name` varbinary(64) NOT NULL,
  `at` bigint(20) NOT NULL,
  `value` varbinary(1024) NOT NULL,
  PRIMARY KEY (`kind`,`key_1`,`key_2`,`name`),
  KEY `ix_f1mon_attributes_value` (`kind`,`name`,`value`,`at`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
INSERT INTO `f1mon_attributes` VALUES (0x61636B6E6F776C656467656D656E74,0x6132,'',0x6279,1777636800000000,0x226B696D22);
INSERT INTO `f1mon_attributes` VALUES (0x6865616C74685F736E617073686F74,0x6831,'',0x6465677261646174696F6E5F6465746563746564,1777636800000000,0x66616C7365);
INSERT INTO `f1mon_attributes` VALUES (0x6865616C74685F736E617073686F74,0x6831,'',0x6D6F64656C5F76657273696F6E,1777636800000000,0x22706F6469756D2D3122);
INSERT INTO `f1mon_attributes` VALUES (0x6865616C74685F736E617073686F74,0x6831,'',0x74727573746564,1777636800000000,0x74727565);
CREATE TABLE `f1mon_facts` (
  `kind` varbinary(64) NOT NULL,
  `key_1` varbinary(1020) NOT NULL,
  `key_2` varbinary(1020) NOT NULL,
  `at` bigint(20) NOT NULL,
  `at_given` smallint(6) NOT NULL,
  `recorded_at` bigint(20) NOT NULL,
  `v` int(11) NOT NULL,
  `content` longtext NOT NULL,
  PRIMARY KEY (`kind`,`key_1`,`key_2`),
  KEY `ix_f1mon_facts_at` (`kind`,`at`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
INSERT INTO `f1mon_facts` VALUES (0x61636B6E6F776C656467656D656E74,0x6132,'',1777636800000000,0,1777636800000000,1,'{\"alert_id\":\"a2\",\"by\":\"kim\"}');
INSERT INTO `f1mon_facts` VALUES (0x6865616C74685F736E617073686F74,0x6831,'',1777636800000000,0,1777636800000000,1,'{\"model_version\":\"podium-1\",\"metrics\":{\"accuracy\":0.5},\"snapshot_id\":\"h1\"}');
INSERT INTO `f1mon_facts` VALUES (0x72756C655F7265766973696F6E,0x72,0x3030303030303030303030303030303030303031,1777636800000000,0,1777636800000000,1,'{\"rule_id\":\"r\",\"revision\":1,\"definition\":{\"a\":1}}');
CREATE TABLE `f1mon_features` (
  `prediction_id` varbinary(1020) NOT NULL,
  `features` longtext NOT NULL,
  `metadata` longtext NOT NULL,
  PRIMARY KEY (`prediction_id`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
INSERT INTO `f1mon_features` VALUES (0x726163652D312FC39C6EC3AF,'{\"grid\":3,\"wet\":null,\"weight\":0.1}','{\"note\":\"\\u0000 nul\"}');
CREATE TABLE `f1mon_horizons` (
  `kind` varbinary(64) NOT NULL,
  `pruned_before` bigint(20) NOT NULL,
  `outcomes_until` bigint(20) DEFAULT NULL,
  PRIMARY KEY (`kind`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
INSERT INTO `f1mon_horizons` VALUES ('',0,NULL);
CREATE TABLE `f1mon_operations` (
  `operation` varbinary(64) NOT NULL,
  `at` bigint(20) NOT NULL,
  `result` longtext NOT NULL,
  PRIMARY KEY (`operation`),
  KEY `ix_f1mon_operations_at` (`at`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
INSERT INTO `f1mon_operations` VALUES (0x31393636623834613336306332336531663730303365393933336632313761356234646332656564623664353463333037666438323836363134636236333339,1777636800000000,'[1]');
CREATE TABLE `f1mon_outcomes` (
  `prediction_id` varbinary(1020) NOT NULL,
  `known_at` bigint(20) NOT NULL,
  `at_given` smallint(6) NOT NULL,
  `recorded_at` bigint(20) NOT NULL,
  `actual_outcome` bigint(20) NOT NULL,
  PRIMARY KEY (`prediction_id`,`known_at`),
  KEY `ix_f1mon_outcomes_known_at` (`known_at`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
INSERT INTO `f1mon_outcomes` VALUES (0x6561726C79,1777636800000000,0,1777636800000000,1);
INSERT INTO `f1mon_outcomes` VALUES (0x726163652D312FC39C6EC3AF,1777626000000000,1,1777636800000000,1);
INSERT INTO `f1mon_outcomes` VALUES (0x726163652D312FC39C6EC3AF,1777629600000000,1,1777636800000000,0);
INSERT INTO `f1mon_outcomes` VALUES (0x726163652D32,1777636800000000,0,1777636800000000,0);
CREATE TABLE `f1mon_predictions` (
  `prediction_id` varbinary(1020) NOT NULL,
  `predicted_at` bigint(20) DEFAULT NULL,
  `at_given` smallint(6) NOT NULL DEFAULT 0,
  `recorded_at` bigint(20) DEFAULT NULL,
  `model_version` varbinary(1020) DEFAULT NULL,
  `predicted_outcome` bigint(20) DEFAULT NULL,
  `confidence` double DEFAULT NULL,
  `actual_outcome` bigint(20) DEFAULT NULL,
  `known_at` bigint(20) DEFAULT NULL,
  `first_known_at` bigint(20) DEFAULT NULL,
  `pruned` smallint(6) NOT NULL DEFAULT 0,
  PRIMARY KEY (`prediction_id`),
  KEY `ix_f1mon_predictions_model` (`model_version`,`predicted_at`),
  KEY `ix_f1mon_predictions_at` (`predicted_at`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
INSERT INTO `f1mon_predictions` VALUES (0x6561726C79,NULL,0,NULL,NULL,NULL,NULL,1,1777636800000000,1777636800000000,0);
INSERT INTO `f1mon_predictions` VALUES (0x726163652D312FC39C6EC3AF,1777550400000000,1,1777636800000000,0x706F6469756D2D31,1,0.75,0,1777629600000000,1777626000000000,0);
INSERT INTO `f1mon_predictions` VALUES (0x726163652D32,1777546800000000,1,1777636800000000,0x706F6469756D2D31,0,0.29,0,1777636800000000,1777636800000000,0);
INSERT INTO `f1mon_predictions` VALUES (0x726163652D33,1777636800000000,0,1777636800000000,0x706F6469756D2D32,1,1,NULL,NULL,NULL,0);
CREATE TABLE `f1mon_state` (
  `state_key` varbinary(2800) NOT NULL,
  `document` longtext DEFAULT NULL,
  `due` bigint(20) DEFAULT NULL,
  PRIMARY KEY (`state_key`),
  KEY `ix_f1mon_state_due` (`due`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
INSERT INTO `f1mon_state` VALUES (0x64656C69766572792F6131,'{\"due\":7}',7);
INSERT INTO `f1mon_state` VALUES (0x696E636964656E742F72,'{\"n\":1,\"due\":5,\"holds\":[\"a1\"]}',5);
