module rclone

go 1.18

require github.com/rclone/rclone v1.60.1
