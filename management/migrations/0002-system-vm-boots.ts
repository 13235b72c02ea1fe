import type { MigrationInterface, QueryRunner } from 'typeorm';

const up = [
  'CREATE TABLE `system_vm_boot` (`id` char(36) CHARACTER SET "ascii" COLLATE "ascii_bin" NOT NULL, `host_id` char(36) CHARACTER SET "ascii" COLLATE "ascii_bin" NULL, `machine_generation` int NULL, `outcome` varchar(16) CHARACTER SET "ascii" COLLATE "ascii_bin" NOT NULL, `certificate_serial` varchar(64) CHARACTER SET "ascii" COLLATE "ascii_bin" NULL, `stages` mediumtext CHARACTER SET "utf8mb4" COLLATE "utf8mb4_bin" NOT NULL, `failed_stage` varchar(64) CHARACTER SET "ascii" COLLATE "ascii_bin" NULL, `reason` varchar(512) CHARACTER SET "utf8mb4" COLLATE "utf8mb4_general_ci" NULL, `failures` int NOT NULL, `last_words` mediumtext CHARACTER SET "utf8mb4" COLLATE "utf8mb4_bin" NOT NULL, `started_at` datetime(3) NOT NULL, `ended_at` datetime(3) NULL, INDEX `ix_system_vm_boot_outcome` (`outcome`), PRIMARY KEY (`id`)) ENGINE=InnoDB',
  'ALTER TABLE `system_vm` ADD `ssh_key_sha256` varchar(64) CHARACTER SET "ascii" COLLATE "ascii_bin" NULL',
];
const down = [
  'ALTER TABLE `system_vm` DROP COLUMN `ssh_key_sha256`',
  'DROP INDEX `ix_system_vm_boot_outcome` ON `system_vm_boot`',
  'DROP TABLE `system_vm_boot`',
];

export class SystemVmBoots implements MigrationInterface {
  readonly name = 'systemVmBoots1000000000002';

  async up(runner: QueryRunner): Promise<void> {
    for (const statement of up) await runner.query(statement);
  }

  async down(runner: QueryRunner): Promise<void> {
    for (const statement of down) await runner.query(statement);
  }
}
