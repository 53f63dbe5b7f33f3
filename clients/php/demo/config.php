<?php

declare(strict_types=1);

require __DIR__ . '/../autoload.php';

use Relay\Options;
use Relay\Url;

/**
 * Where work.php finds the relay: RELAY_URL, with any of the four schemes. Only whoever starts the
 * server says so. If a request could, anybody could have this machine connect to where they like.
 */
function relay_url(): string
{
    return getenv('RELAY_URL') ?: 'tcp://127.0.0.1:8083';
}

function relay_options(): Options
{
    return new Options(cafile: getenv('RELAY_CAFILE') ?: null);
}

/**
 * Where the page finds it: the query's `relay`, or the same relay as work.php, as a WebSocket.
 */
function page_url(): Url
{
    $asked = $_GET['relay'] ?? '';
    $url = Url::parse(is_string($asked) && $asked !== '' ? $asked : relay_url());
    $scheme = $url->hasTls() ? 'wss' : 'ws';
    $target = $url->isWebSocket() && $url->target !== '' ? $url->target : '/web';
    return Url::parse("$scheme://" . $url->authority() . $target);
}
