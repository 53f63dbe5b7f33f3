<?php

declare(strict_types=1);

// The JavaScript client lies outside of what this server serves.
header('Content-Type: text/javascript; charset=utf-8');
header('X-Content-Type-Options: nosniff');
header('Cache-Control: no-cache');
readfile(__DIR__ . '/../../web/relay.js');
