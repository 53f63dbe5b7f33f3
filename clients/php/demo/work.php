<?php

declare(strict_types=1);

require __DIR__ . '/config.php';

use Relay\Client;

header('Content-Type: application/json; charset=utf-8');
header('X-Content-Type-Options: nosniff');

// In the body and not in the URL: a uuid is a secret, and URLs end in logs. And a link, or an image
// on some other page, cannot start the work.
$uuid = $_POST['uuid'] ?? '';
$name = $_POST['name'] ?? '';
if (
    $_SERVER['REQUEST_METHOD'] !== 'POST'
    || !is_string($uuid) || preg_match('/\A[0-9A-Za-z._-]{1,128}\z/', $uuid) !== 1
    || !is_string($name) || preg_match('/\A[\p{L} ]{1,40}\z/u', $name) !== 1
) {
    header('Allow: POST');
    http_response_code($_SERVER['REQUEST_METHOD'] === 'POST' ? 400 : 405);
    exit('{"error":"POST uuid and name"}');
}

// The page may be reloaded while the work goes on: it will come back under its uuid.
ignore_user_abort(true);
set_time_limit(120);

// The work matters more than its reports. If the relay is down, it is done all the same.
$relay = Client::quiet(relay_url(), relay_options(), pause: 1.0);

$months = [
    'January', 'February', 'March', 'April', 'May', 'June',
    'July', 'August', 'September', 'October', 'November', 'December',
];
$parts = ['reading the orders', 'checking the prices', 'adding up', 'comparing with last year', 'writing the page'];
$steps = count($months) * count($parts);
$pause = step_microseconds();
$began = hrtime(true);
$step = 0;
$taken = 0;
foreach ($months as $month) {
    foreach ($parts as $part) {
        $percent = 100 * $step / $steps;
        $more = ['step' => $step, 'steps' => $steps];
        $taken += (int) $relay->progress($uuid, $percent, "$month: $part", $more);
        // This is where the work would be.
        usleep(random_int(intdiv($pause, 2), intdiv(3 * $pause, 2)));
        $step++;
    }
}
$seconds = round((hrtime(true) - $began) / 1e9, 1);
$more = ['step' => $steps, 'steps' => $steps];
$taken += (int) $relay->progress($uuid, 100, "The report is ready, after $seconds s", $more);

// Everybody hears this, so the uuid is not in it.
$relay->broadcast(['message' => 'The yearly report is ready', 'from' => $name]);
$relay->quit();

echo json_encode(['reports' => $steps + 1, 'taken' => $taken, 'seconds' => $seconds]);
