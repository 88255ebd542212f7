#include "cli/server.h"

const struct cli_command cmd_server = {
	.name = "server",
	.summary = "Replace the servers of running disks, and start them again",
	.children = {&server_upgrade, &server_restart, &server_resume},
	.examples = {
		{"ploop server upgrade --all", "After installing a new version: use it, without unmounting anything"},
		{"ploop server upgrade /vz/test", "One disk"},
		{"ploop server restart /vz/test", "After removing the cause of what its server died of"},
	},
};
